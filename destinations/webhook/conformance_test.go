package webhook_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/destinationtest"
	"github.com/tidegate/tidegate/destinations/webhook"
)

const poison = "poisoned"

func TestConformance(t *testing.T) {
	t.Parallel()
	bearer := map[string]any{"kind": "bearer", "token": destinationtest.Canary}
	for name, extra := range map[string]map[string]any{
		"one record a call": {"auth": bearer},
		"batches":           {"auth": bearer, "batch": true, "limits": map[string]any{"records": 20}, "results": map[string]string{"path": "results", "index": "index", "status": "status", "error": "error", "id": "id"}},
		"jobs":              {"auth": bearer, "jobs": map[string]any{"id": "job", "url": "{base}/jobs/{job}", "state": "state"}, "read": map[string]any{"url": "{base}/records/{identifier}"}, "results": map[string]string{"path": "", "status": "result.status", "error": "result.error", "id": "result.id"}},
		"batches of jobs":   {"auth": bearer, "batch": true, "limits": map[string]any{"records": 20}, "jobs": map[string]any{"id": "job", "url": "{base}/jobs/{job}", "state": "state"}, "read": map[string]any{"url": "{base}/records/{identifier}"}, "results": map[string]string{"path": "result.results", "index": "index", "status": "status", "error": "error", "id": "id"}},
		"signed":            {"auth": map[string]any{"kind": "hmac", "secret": destinationtest.Canary}},
		"signed batches":    {"auth": map[string]any{"kind": "hmac", "secret": destinationtest.Canary}, "batch": true, "limits": map[string]any{"records": 5}, "results": map[string]string{"path": "results", "status": "status", "error": "error", "id": "id"}},
		"template and DELETE": {
			"auth": bearer, "body": `{"op": "{{ op }}", "identifier": {{ identifier | json }}, "record": {{ record | json }}}`,
			"method": "PUT", "removed": map[string]string{"method": "DELETE", "url": "{base}/records/{identifier}"}, "safety": "idempotent", "idempotency_header": "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := map[string]any{"poison": poison, "token": destinationtest.Canary}
			if strings.HasPrefix(name, "signed") {
				options = map[string]any{"poison": poison, "secret": destinationtest.Canary, "any_time": true}
			}
			if _, async := extra["jobs"]; async {
				options["job_polls"] = 2
			}
			destinationtest.Run(t, suite(extra, options))
		})
	}
}

func suite(extra, options map[string]any) destinationtest.Suite {
	return destinationtest.Suite{
		Kind: webhook.Kind(),
		Simulator: func() (destinations.Simulator, error) {
			raw, err := json.Marshal(options)
			if err != nil {
				return nil, err
			}
			return webhook.NewSimulator(raw)
		},
		Config: func(baseURL string) json.RawMessage {
			cfg := map[string]any{}
			if err := json.Unmarshal(webhook.Kind().SimulatorConfig(baseURL), &cfg); err != nil {
				panic(err)
			}
			for k, v := range extra {
				cfg[k] = v
			}
			for _, at := range []string{"jobs", "read"} {
				if given, ok := extra[at].(map[string]any); ok {
					given = maps.Clone(given)
					given["url"] = baseURL + given["url"].(string)[len("{base}"):]
					cfg[at] = given
				}
			}
			if removed, ok := extra["removed"].(map[string]string); ok {
				cfg["removed"] = map[string]string{"method": removed["method"], "url": baseURL + removed["url"][len("{base}"):]}
			}
			raw, err := json.Marshal(cfg)
			if err != nil {
				panic(err)
			}
			return raw
		},
		Samples: []destinationtest.Sample{{
			Object: "records", Identifier: "id",
			Record: func(i int) tidegate.Record {
				return tidegate.Record{"id": fmt.Sprintf("user %d/ä?", i), "name": fmt.Sprintf("User %d", i)}
			},
			Poison: func(r tidegate.Record) tidegate.Record {
				return tidegate.Record{"id": r["id"], "name": poison}
			},
			Values: map[tidegate.Kind]string{
				tidegate.Bool: "b", tidegate.Int: "i", tidegate.Float: "f", tidegate.Decimal: "d", tidegate.String: "s",
				tidegate.Date: "day", tidegate.Timestamp: "at", tidegate.JSON: "j",
			},
		}},
	}
}
