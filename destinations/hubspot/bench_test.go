package hubspot

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/egress"
	"github.com/tidegate/tidegate/internal/secret"
)

// BenchmarkWrite upserts full batches of new and known contacts through the
// connector, HTTP and the simulator; b.N counts calls of 100 records.
func BenchmarkWrite(b *testing.B) {
	sim, err := NewSimulator([]byte(`{"calls_per_ten_seconds":100000000}`))
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(sim)
	defer server.Close()
	client := egress.New(egress.Options{Policy: egress.Policy{AllowPrivate: true}})
	defer client.CloseIdleConnections()
	d, err := open(Config{Token: secret.New("pat"), BaseURL: server.URL}, destinations.Env{Log: slog.New(slog.DiscardHandler), HTTP: client, Now: func() time.Time { return time.Unix(0, 0) }})
	if err != nil {
		b.Fatal(err)
	}
	next := 0
	for b.Loop() {
		batch := destinations.Batch{Object: "contacts", Mode: tidegate.Upsert, IdentifierField: "email"}
		for range maxInputs {
			email := fmt.Sprintf("user%d@example.com", next%100_000)
			next++
			batch.Items = append(batch.Items, destinations.Item{Op: tidegate.Added, Identifier: email, Record: tidegate.Record{"email": email, "firstname": "Ada", "lastname": "Lovelace", "city": "London"}})
		}
		out, err := d.Write(b.Context(), batch)
		if err != nil || out[0].Disposition != destinations.Delivered {
			b.Fatal(err, out[0].Fault)
		}
	}
	b.ReportMetric(float64(next)/b.Elapsed().Seconds(), "records/s")
}
