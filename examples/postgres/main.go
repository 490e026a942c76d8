// A web server whose queries survive a change of the database's password, or of its user.
//
// A connection that is open stays open when its password changes; only a new one needs the new password. So each new
// connection reads the file, and after a change the old connections are closed as they become idle.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	secret        = "/freshmount/secrets/db.json"
	patience      = 75 * time.Second // longer than the agent's period
	wrongPassword = "28P01"
)

// login gives a new connection the user and password that the file holds now.
func login(_ context.Context, to *pgx.ConnConfig) error {
	content, err := os.ReadFile(secret)
	if err != nil {
		return err
	}
	var found struct{ Username, Password string }
	if json.Unmarshal(content, &found) != nil {
		return errors.New(secret + " is not a JSON object with username and password") // never the content
	}
	to.User, to.Password = found.Username, found.Password
	return nil
}

// patient does it again while the password is refused: between the change in the database and the new file a new
// connection still has the old one. Nothing was sent to the database then, so any statement may be repeated.
func patient(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := do(ctx)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != wrongPassword {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	config, err := pgxpool.ParseConfig("") // the rest is in PGHOST, PGDATABASE, PGSSLMODE
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = login
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var user string
		err := patient(r.Context(), func(ctx context.Context) error {
			return pool.QueryRow(ctx, "select current_user").Scan(&user)
		})
		if err != nil {
			log.Print(err)
			http.Error(w, "no database", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte(user + "\n"))
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		// Containers of a pod share its loopback; nobody else reaches it.
		if host, _, _ := net.SplitHostPort(r.RemoteAddr); !net.ParseIP(host).IsLoopback() {
			http.NotFound(w, r)
			return
		}
		pool.Reset() // closes those that are idle now, and the others once they are given back
		w.WriteHeader(http.StatusNoContent)
	})

	server := http.Server{Addr: ":8080", Handler: mux}
	go func() {
		<-ctx.Done()
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
