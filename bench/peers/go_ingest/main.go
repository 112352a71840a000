// Go's net/http and franz-go, with its defaults: idempotent, acknowledged by all in-sync replicas, ProduceSync per
// request, which does not linger.
package main

import (
	"crypto/subtle"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const bodyLimit = 4 << 20

func main() {
	servers := flag.String("servers", "", "Kafka's brokers, host:port, separated by commas")
	topic := flag.String("topic", "", "where bodies go")
	accounts := flag.String("accounts", "", "a JSON file: the secret of each account")
	port := flag.String("port", "", "to listen on, on loopback")
	flag.Parse()

	text, err := os.ReadFile(*accounts)
	if err != nil {
		log.Fatal(err)
	}
	var secrets map[string]string
	if err := json.Unmarshal(text, &secrets); err != nil {
		log.Fatal(err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(*servers, ",")...),
		kgo.DefaultProduceTopic(*topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	http.HandleFunc("POST /webhooks/{account}/{secret}", func(w http.ResponseWriter, r *http.Request) {
		account := r.PathValue("account")
		secret, known := secrets[account]
		if !known || subtle.ConstantTimeCompare([]byte(secret), []byte(r.PathValue("secret"))) != 1 {
			http.NotFound(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			http.Error(w, "unread", http.StatusServiceUnavailable)
			return
		}
		record := &kgo.Record{Key: []byte(account), Value: body}
		if err := client.ProduceSync(r.Context(), record).FirstErr(); err != nil {
			http.Error(w, "not stored", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe(net.JoinHostPort("127.0.0.1", *port), nil))
}
