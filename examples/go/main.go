// A web server that wants an API key of its callers, and reads it anew on SIGHUP.
package main

import (
	"crypto/subtle"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

const path = "/freshmount/secrets/api-key"

var key atomic.Pointer[[]byte]

func load() error {
	content, err := os.ReadFile(path) // always a whole file: the agent replaces it by a rename
	if err == nil {
		key.Store(&content)
	}
	return err
}

func hello(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Api-Key")), *key.Load()) != 1 {
		http.Error(w, "wrong key", http.StatusUnauthorized)
		return
	}
	w.Write([]byte("hello\n"))
}

func main() {
	// Before anything else, since SIGHUP ends a Go program that does not ask for it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)

	if err := load(); err != nil {
		log.Fatal(err)
	}
	go func() {
		for range hangup {
			if err := load(); err != nil {
				log.Print(err) // the key before it stays
				continue
			}
			log.Print("read the key anew")
		}
	}()

	http.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /{$}", hello)
	log.Fatal(http.ListenAndServe(":8080", nil))
}
