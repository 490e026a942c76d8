// Reads .env files as godotenv does and prints what it found in each, as JSON.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/joho/godotenv"
)

func main() {
	found := []map[string]string{}
	for _, path := range os.Args[1:] {
		read, err := godotenv.Read(path)
		if err != nil {
			log.Fatal(err)
		}
		found = append(found, read)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}
