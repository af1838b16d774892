package app_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	destall "github.com/tidegate/tidegate/destinations/all"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

const movingProject = `
warehouse: WAREHOUSE
warehouses: [FURTHER]
sources: [{name: web, write_key: WK}]
settings: {allow_private: [127.0.0.0/8]}
destinations:
  - {name: crm, kind: hubspot, config: {token: "${env:TIDEGATE_TEST_TOKEN}", base_url: "URL"}}
models:
  - {name: people, sql: "SELECT id, email, plan FROM web.users", primary_key: [id]}
syncs:
  - name: people_to_crm
    model: people
    destination: crm
    object: contacts
    mapping:
      identifier: email
      fields: [{field: email, column: email}, {field: jobtitle, column: plan}]
`

// TestMigrate moves a hub from DuckDB to PostgreSQL: afterwards it goes on loading where
// it was, repeats are still known, and no sync sends anything again.
func TestMigrate(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	var shared pgtest.Shared
	defer shared.Stop()
	pg := shared.Get(t, warehousetest.Missing)
	pg.Exec(t, "postgres", "CREATE DATABASE shop")
	pg.Exec(t, "postgres", "CREATE ROLE loads LOGIN SUPERUSER")
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	postgres := fmt.Sprintf("kind: postgres, config: {host: %q, port: %d, user: loads, database: shop}", pg.Host, pg.Port)
	definitions := func(warehouse, further string) string {
		return strings.NewReplacer("URL", srv.URL, "WAREHOUSE", warehouse, "FURTHER", further).Replace(movingProject)
	}
	before := options(t, definitions("{kind: duckdb}", "{name: shop, "+postgres+"}"))
	a := started(t, before)
	for i := range 30 {
		mustSend(t, a, fmt.Sprintf(`{"type":"identify","messageId":"i%d","userId":"u%d","traits":{"email":"u%d@x.io","plan":"free","score":%d.5}}`, i, i, i, i))
	}
	mustSend(t, a, `{"messageId":"t1","userId":"u1","event":"Sold","properties":{"total":1,"items":[1,2]}}`)
	if err := a.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run := ran(t, a, "people_to_crm"); run.Counts.Delivered != 30 {
		t.Fatalf("%+v %+v", run.Counts, run.Fault)
	}
	ended(t, a)

	p, err := project.LoadDir(before.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	migrate := func() map[string]api.Migrated {
		t.Helper()
		done := map[string]api.Migrated{}
		if err := app.Migrate(t.Context(), p, before.Data, "", "shop", time.Now, func(m api.Migrated) { done[m.Table] = m }); err != nil {
			t.Fatal(err)
		}
		return done
	}
	cut, stop := context.WithCancel(t.Context())
	tables := 0
	if err := app.Migrate(cut, p, before.Data, "", "shop", time.Now, func(api.Migrated) {
		if tables++; tables == 2 {
			stop()
		}
	}); err == nil {
		t.Error("a migration that was cut off says that it is complete")
	}
	first := migrate()
	for table, want := range map[string]int64{"web.users": 30, "web.identifies": 30, "web.sold": 1, "web.tracks": 1, "_tidegate.seen": 31, "ledger of people_to_crm": 30} {
		if first[table].Rows != want {
			t.Errorf("%s: %+v, want %d rows", table, first[table], want)
		}
	}
	if second := migrate(); second["web.users"].Copied != 0 || second["web.sold"].Rows != 1 {
		t.Errorf("the second time it copied what was there: %+v", second)
	}

	after := options(t, definitions("{"+postgres+"}", "{name: old, kind: duckdb}"))
	after.Data = before.Data
	a = started(t, after)
	if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 0 || run.Counts.Unchanged != 30 {
		t.Errorf("after the move: %+v %+v", run.Counts, run.Fault)
	}
	mustSend(t, a, `{"messageId":"t1","userId":"u1","event":"Sold","properties":{"total":1}}`)
	mustSend(t, a, `{"messageId":"t2","userId":"u2","event":"Sold","properties":{"total":2.5}}`)
	mustSend(t, a, `{"type":"identify","messageId":"i100","userId":"u7","traits":{"plan":"pro"}}`)
	if err := a.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := []string{
		strconv.FormatInt(countIn(t, a, "", "SELECT count(*) FROM web.sold"), 10),
		strconv.FormatInt(countIn(t, a, "", "SELECT count(*) FROM web.users WHERE score = 7.5 AND plan = 'pro'"), 10),
		strconv.FormatInt(countIn(t, a, "", "SELECT count(*) FROM web.identifies"), 10),
	}
	if d := cmp.Diff([]string{"2", "1", "31"}, got); d != "" {
		t.Errorf("events sent, repeated and merged after the move: %s", d)
	}
	if run := ran(t, a, "people_to_crm"); run.Counts.Delivered != 1 || run.Counts.Changed != 1 {
		t.Errorf("one person changed: %+v %+v", run.Counts, run.Fault)
	}
	ended(t, a)
}

// TestMigratePublishedLedger moves a hub whose ledger is published from Redshift to Snowflake, with its own copy of
// the ledger lost: nothing is sent again, and the new warehouse shows the ledger after the first run.
func TestMigratePublishedLedger(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_TOKEN", "token")
	t.Setenv("TIDEGATE_TEST_KEY", rstest.SecretKey)
	t.Setenv("TIDEGATE_TEST_PASSWORD", sftest.Password)
	var shared pgtest.Shared
	t.Cleanup(shared.Stop)
	c := rstest.New(t, shared.Get(t, warehousetest.Missing))
	kind, _ := destall.Find("hubspot")
	sim, err := kind.Simulate(nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	redshift := fmt.Sprintf(`kind: redshift, config: {host: %q, port: %d, database: %s, user: %s, tls: disable, bucket: %s, region: %s, access_key_id: %s, secret_access_key: "${env:TIDEGATE_TEST_KEY}", iam_role: %q, endpoint: %q}`,
		c.Host, c.Port, c.Database, c.User, rstest.Bucket, rstest.Region, rstest.AccessKey, rstest.Role, c.S3.URL)
	snowflake := fmt.Sprintf(`kind: snowflake, config: {account: acme-test, user: %s, password: "${env:TIDEGATE_TEST_PASSWORD}", database: analytics, warehouse: compute, role: loader, endpoint: %q}`, sftest.User, sftest.New(t).URL)
	definitions := func(warehouse, further string) string {
		return strings.NewReplacer("URL", srv.URL, "WAREHOUSE", warehouse, "FURTHER", further).Replace(movingProject) + "    ledger: {placement: warehouse}\n"
	}
	before := options(t, definitions("{"+redshift+"}", "{name: lake, "+snowflake+"}"))
	a := started(t, before)
	for i := range 5 {
		mustSend(t, a, fmt.Sprintf(`{"type":"identify","messageId":"i%d","userId":"u%d","traits":{"email":"u%d@x.io","plan":"free"}}`, i, i, i))
	}
	if err := a.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run := ran(t, a, "people_to_crm"); run.Counts.Delivered != 5 {
		t.Fatalf("%+v %+v", run.Counts, run.Fault)
	}
	ended(t, a)
	if err := os.Remove(filepath.Join(before.Data, "ledgers.duckdb")); err != nil {
		t.Fatal(err)
	}
	p, err := project.LoadDir(before.Project, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]api.Migrated{}
	if err := app.Migrate(t.Context(), p, before.Data, "", "lake", time.Now, func(m api.Migrated) { done[m.Table] = m }); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int64{"web.users": 5, "web.identifies": 5, "ledger of people_to_crm": 5} {
		if done[table].Rows != want {
			t.Errorf("%s: %+v, want %d rows", table, done[table], want)
		}
	}
	after := options(t, definitions("{"+snowflake+"}", "{name: old, "+redshift+"}"))
	after.Data = before.Data
	a = started(t, after)
	if run := ran(t, a, "people_to_crm"); run.State != tidegate.RunSucceeded || run.Counts.Delivered != 0 || run.Counts.Unchanged != 5 {
		t.Errorf("after the move: %+v %+v", run.Counts, run.Fault)
	}
	mustSend(t, a, `{"type":"identify","messageId":"i100","userId":"u3","traits":{"plan":"pro"}}`)
	if err := a.Hub.WaitLoaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run := ran(t, a, "people_to_crm"); run.Counts.Delivered != 1 || run.Counts.Changed != 1 {
		t.Errorf("one person changed: %+v %+v", run.Counts, run.Fault)
	}
	if n := countIn(t, a, "", "SELECT count(*) FROM _tidegate.sync_snapshot WHERE state = 'acked'"); n != 5 {
		t.Errorf("the new warehouse shows %d keys, want 5", n)
	}
	ended(t, a)
}

func started(t *testing.T, o app.Options) *app.App {
	t.Helper()
	a, err := app.Start(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ended(t *testing.T, a *app.App) {
	t.Helper()
	a.Stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

func mustSend(t *testing.T, a *app.App, body string) {
	t.Helper()
	if code, err := send(t, a, body); err != nil || code != 200 {
		t.Fatalf("sending an event: %d, %v", code, err)
	}
}
