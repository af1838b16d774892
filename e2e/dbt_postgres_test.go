package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
)

// TestDbtOnPostgres: dbt and Tidegate meet in a server that both reach at any
// time: nothing is lent, and the artefacts tell that dbt has run.
func TestDbtOnPostgres(t *testing.T) {
	t.Parallel()
	s := newDbtShop(t)
	var shared pgtest.Shared
	t.Cleanup(shared.Stop)
	server := shared.Get(t, missing)
	database := server.Database(t)
	s.edit("tidegate.yaml", "kind: duckdb", fmt.Sprintf("kind: postgres\n  config: {host: %s, port: %d, database: %s, user: %s}", server.Host, server.Port, database, pgtest.Superuser))
	profile := fmt.Sprintf("shop:\n  target: hub\n  outputs:\n    hub: {type: postgres, host: %s, port: %d, user: %s, password: none, dbname: %s, schema: staging, threads: 2}\n",
		server.Host, server.Port, pgtest.Superuser, database)
	if err := os.WriteFile(filepath.Join(s.project, "shop", "profiles.yml"), []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.identify("u1", "ada@example.com", "free")
	if code, answer, err := s.post("/v1/track", `{"userId":"u1","event":"Order Completed","properties":{"total":12.5}}`); err != nil || code != http.StatusOK {
		t.Fatal(code, answer, err)
	}
	s.loaded("select count(*) from web.users", 1)
	s.loaded("select count(*) from web.order_completed", 1)
	build := func() error {
		cmd := exec.Command(s.dbt, "--quiet", "build", "--project-dir", filepath.Join(s.project, "shop"))
		cmd.Env = append(os.Environ(), s.env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return errors.New(string(out))
		}
		return nil
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	s.waitFor(60*time.Second, "the sync after dbt", func() bool { return s.contacts()["ada@example.com"] == "Free customer" })

	s.identify("u2", "ada@example.com", "pro") // the email stands twice
	s.loaded("select count(*) from web.users", 2)
	if err := build(); err == nil {
		t.Error("dbt build passes although an email stands twice")
	}
	s.waitFor(60*time.Second, "the sync to be blocked", func() bool { state, _ := s.syncState(); return state == "blocked" })
	out := s.mustCLI("lineage", "web.users", "--data", s.data, "--json")
	if !strings.Contains(out, "crm.contacts.jobtitle") {
		t.Errorf("the lineage of web.users does not lead to a field: %s", out)
	}
	s.loaded("select count(*) from _tidegate.lineage where from_name = 'web.users'", 1)
}
