module example.com/freshmount/go

go 1.24
