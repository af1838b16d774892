package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
)

func TestMain(m *testing.M) {
	chdbtest.Main() // in the child that is the engine this does not return
	os.Exit(m.Run())
}

const clickhouseProject = `warehouse:
  kind: clickhouse
  config: {host: %s, port: %d, user: %s, password: "${env:CLICKHOUSE_PASSWORD}"}
sources: [{name: web, write_key: WK}]
destinations:
  - name: crm
    kind: hubspot
    config: {token: "${env:HUBSPOT_TOKEN}", base_url: "http://%s"}
settings: {allow_private: [127.0.0.0/8]}
`

const clickhouseModel = `-- primary_key: user_id
select u.id as user_id, u.email, u.plan, count(o.id) as orders
from web.users as u left join web.order_completed as o on o.user_id = u.id
group by u.id, u.email, u.plan
`

const clickhouseSync = `name: people_to_crm
model: people
destination: crm
object: contacts
mapping:
  identifier: email
  fields:
    - {field: email, column: email}
    - {field: jobtitle, template: "{{ plan | capitalize }} customer, {{ orders }} orders"}
schedule: {after_load: true}
`

// TestClickHouse drives the whole loop on ClickHouse's own engine: events in, a model
// over them, changed rows out; through a kill -9 of the binary and one of the engine.
func TestClickHouse(t *testing.T) {
	t.Parallel()
	server := chdbtest.Get(t, missing)
	crm := freeAddr(t)
	n := newNode(t, map[string]string{
		"tidegate.yaml":            fmt.Sprintf(clickhouseProject, server.Host, server.Port, chdbtest.User, crm),
		"models/people.sql":        clickhouseModel,
		"syncs/people_to_crm.yaml": clickhouseSync,
	})
	n.env = []string{"HUBSPOT_TOKEN=x", "CLICKHOUSE_PASSWORD=" + chdbtest.Password}
	sim := exec.Command(n.bin, "simulate", "hubspot", "--addr", crm)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	if out := n.mustCLI("warehouse", "check", "--project", n.project, "--data", n.data); strings.Contains(out, "error") {
		t.Fatalf("the check found:\n%s", out)
	}
	n.start()
	titles := func(want map[string]string) {
		t.Helper()
		n.waitFor(60*time.Second, fmt.Sprintf("the contacts %v", want), func() bool {
			got := contactTitles(t, crm)
			for email, title := range want {
				if got[email] != title {
					return false
				}
			}
			return len(got) == len(want)
		})
	}
	send := func(path, body string) {
		t.Helper()
		if code, answer, err := n.post(path, body); err != nil || code != http.StatusOK {
			t.Fatal(code, answer, err)
		}
	}
	send("/v1/identify", `{"userId":"u1","traits":{"email":"ada@example.com","plan":"free"}}`)
	send("/v1/identify", `{"userId":"u2","traits":{"email":"bob@example.com","plan":"pro"}}`)
	send("/v1/track", `{"userId":"u1","messageId":"o1","event":"Order Completed","properties":{"total":12.5}}`)
	titles(map[string]string{"ada@example.com": "Free customer, 1 orders", "bob@example.com": "Pro customer, 0 orders"})

	// A repeat is dropped, a change leaves, and nothing is lost by a kill of either side.
	send("/v1/track", `{"userId":"u1","messageId":"o1","event":"Order Completed","properties":{"total":12.5}}`)
	send("/v1/track", `{"userId":"u1","messageId":"o2","event":"Order Completed","properties":{"total":"twelve"}}`)
	n.kill()
	server.Kill(t)
	n.start()
	send("/v1/identify", `{"userId":"u2","traits":{"plan":"enterprise"}}`)
	titles(map[string]string{"ada@example.com": "Free customer, 2 orders", "bob@example.com": "Enterprise customer, 0 orders"})

	const bulk = 500
	for from := 0; from < bulk; from += 50 {
		var events []string
		for i := from; i < from+50; i++ {
			events = append(events, fmt.Sprintf(`{"type":"track","userId":"u2","messageId":"b%d","event":"Page Seen"}`, i))
		}
		send("/v1/batch", `{"batch":[`+strings.Join(events, ",")+`]}`)
	}
	n.kill()
	n.start()
	n.waitFor(60*time.Second, "the events in the warehouse", func() bool {
		got, err := n.queryInt("select count() from web.page_seen settings final = 0")
		return err == nil && got == bulk
	})
	if out := n.mustCLI("sync", "runs", "people_to_crm", "--data", n.data); !strings.Contains(out, "succeeded") {
		t.Errorf("no run succeeded:\n%s", out)
	}
	if code := n.stop(); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
}
