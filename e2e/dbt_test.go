package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dbtCommand is a real dbt in the environment that `make dbt-env` makes. Where
// there is none the test is skipped, unless TIDEGATE_REQUIRE names dbt.
func dbtCommand(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TIDEGATE_DBT")
	if dir == "" {
		dir = filepath.Join("..", ".cache", "dbt", "bin")
	}
	path, err := filepath.Abs(filepath.Join(dir, "dbt"))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		if required("dbt") {
			t.Fatalf("TIDEGATE_REQUIRE names dbt and there is none: %v", err)
		}
		t.Skipf("NOT TESTED AGAINST DBT: %v; run `make dbt-env`, which needs python3 with venv and PyPI", err)
	}
	return path
}

// dbtShop is examples/dbt as a node, with a simulated HubSpot beside it.
type dbtShop struct {
	*node
	dbt string
	crm string // host:port
}

func newDbtShop(t *testing.T) *dbtShop {
	t.Helper()
	dbt := dbtCommand(t)
	s := &dbtShop{node: newNode(t, nil), dbt: dbt, crm: freeAddr(t)}
	if err := os.CopyFS(s.project, os.DirFS(filepath.Join("..", "examples", "dbt"))); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"target", "logs"} { // of somebody who has run the example
		if err := os.RemoveAll(filepath.Join(s.project, "shop", made)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.project, "shop", "models", "tidegate_exposures.yml")); err != nil {
		t.Fatal(err)
	}
	s.edit("tidegate.yaml", "127.0.0.1:8082", s.crm)
	s.edit("tidegate.yaml", "WK_DEMO", "WK")
	s.env = []string{"HUBSPOT_TOKEN=x", "DBT_SEND_ANONYMOUS_USAGE_STATS=false", "DBT_PROFILES_DIR=" + filepath.Join(s.project, "shop")}
	sim := exec.Command(s.bin, "simulate", "hubspot", "--addr", s.crm)
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() })
	return s
}

// edit replaces text in a file of the project.
func (s *dbtShop) edit(name, old, fresh string) {
	s.t.Helper()
	path := filepath.Join(s.project, name)
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		s.t.Fatalf("%s does not hold %q", name, old)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(fresh), 1), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// build runs dbt on the warehouse's file, which the server lends.
func (s *dbtShop) build(args ...string) error {
	shop := filepath.Join(s.project, "shop")
	_, err := s.cli(append([]string{"exec", "--data", s.data, "--", s.dbt, "--quiet", args[0], "--project-dir", shop}, args[1:]...)...)
	return err
}

func (s *dbtShop) identify(id, email, plan string) {
	s.t.Helper()
	body := `{"userId":"` + id + `","traits":{"email":"` + email + `","plan":"` + plan + `"}}`
	if code, answer, err := s.post("/v1/identify", body); err != nil || code != http.StatusOK {
		s.t.Fatal(code, answer, err)
	}
}

// loaded waits until the warehouse holds as many users.
func (s *dbtShop) loaded(sql string, want int64) {
	s.t.Helper()
	s.waitFor(60*time.Second, sql, func() bool {
		n, err := s.queryInt(sql)
		return err == nil && n == want
	})
}

// contacts are the job titles that the CRM holds, by email.
func (s *dbtShop) contacts() map[string]string { return contactTitles(s.t, s.crm) }

func (s *dbtShop) syncState() (state, reason string) {
	out := s.mustCLI("sync", "status", "customers_to_crm", "--data", s.data, "--json")
	var list []struct{ State, Reason string }
	var one struct{ State, Reason string }
	if json.Unmarshal([]byte(out), &list) == nil && len(list) > 0 {
		return list[0].State, list[0].Reason
	}
	if err := json.Unmarshal([]byte(out), &one); err != nil {
		s.t.Fatalf("reading %q: %v", out, err)
	}
	return one.State, one.Reason
}

// TestDbtBothWays drives a real dbt on the example project: events become a
// model, its declared sync runs after the build, a failing test keeps it from
// running, exposures and lineage are written, and CI sees what a change breaks.
func TestDbtBothWays(t *testing.T) {
	t.Parallel()
	s := newDbtShop(t)
	s.start()
	s.identify("u1", "ada@example.com", "free")
	s.identify("u2", "bob@example.com", "pro")
	if code, answer, err := s.post("/v1/track", `{"userId":"u1","event":"Order Completed","properties":{"total":12.5}}`); err != nil || code != http.StatusOK {
		t.Fatal(code, answer, err)
	}
	s.loaded("select count(*) from web.users", 2)
	s.loaded("select count(*) from web.order_completed", 1)

	if err := s.build("build"); err != nil {
		t.Fatal(err)
	}
	s.waitFor(60*time.Second, "the sync after dbt", func() bool { return len(s.contacts()) == 2 })
	if got := s.contacts(); got["ada@example.com"] != "Free customer" || got["bob@example.com"] != "Pro customer" {
		t.Errorf("the CRM holds %v", got)
	}
	exposures, err := os.ReadFile(filepath.Join(s.project, "shop", "models", "tidegate_exposures.yml"))
	if err != nil || !bytes.Contains(exposures, []byte("ref('customers')")) {
		t.Errorf("the exposures are %s, %v", exposures, err)
	}

	t.Run("gate", func(t *testing.T) {
		s.identify("u3", "ada@example.com", "stolen") // a second customer with the email: the unique test fails
		s.loaded("select count(*) from web.users", 3)
		if err := s.build("build"); err == nil {
			t.Error("dbt build passes although an email stands twice")
		}
		s.waitFor(60*time.Second, "the sync to be blocked", func() bool { state, _ := s.syncState(); return state == "blocked" })
		if _, reason := s.syncState(); !strings.Contains(reason, "unique_customers_email") {
			t.Errorf("the reason is %q", reason)
		}
		if out, err := s.cli("sync", "run", "customers_to_crm", "--data", s.data); err == nil {
			t.Errorf("the sync runs by hand: %s", out)
		}
		s.identify("u3", "eve@example.com", "free")
		s.loaded("select count(*) from web.users where email = 'eve@example.com'", 1)
		if err := s.build("build"); err != nil {
			t.Fatal(err)
		}
		s.waitFor(60*time.Second, "the sync after the mended build", func() bool { return len(s.contacts()) == 3 })
		if got := s.contacts(); got["ada@example.com"] != "Free customer" {
			t.Errorf("what was blocked was sent: %v", got)
		}
	})
	t.Run("lineage", func(t *testing.T) {
		out := s.mustCLI("lineage", "crm.contacts.jobtitle", "--data", s.data, "--json")
		for _, step := range []string{`"web.users"`, `"shop.customers"`, `"customers_to_crm"`, `"plan"`} {
			if !strings.Contains(out, step) {
				t.Errorf("the lineage has no %s:\n%s", step, out)
			}
		}
		s.loaded("select count(*) from _tidegate.lineage where from_kind = 'sync' and to_name = 'crm.contacts.jobtitle' and columns = 'plan'", 1)
		// dbt itself reads what was written back.
		ls := exec.Command(s.dbt, "--quiet", "ls", "--resource-type", "exposure", "--project-dir", filepath.Join(s.project, "shop"), "--target-path", t.TempDir())
		ls.Env = append(os.Environ(), s.env...)
		if got, err := ls.CombinedOutput(); err != nil || !strings.Contains(string(got), "tidegate_customers_to_crm") {
			t.Errorf("dbt ls says %s, %v", got, err)
		}
	})
	t.Run("restart", func(t *testing.T) {
		if code := s.stop(); code != 0 {
			t.Errorf("the server ended with %d", code)
		}
		s.start()
		if state, reason := s.syncState(); state != "idle" {
			t.Errorf("after a restart the sync is %s: %s", state, reason)
		}
	})
	t.Run("check", s.check)
}

// check changes the dbt project as a pull request would.
func (s *dbtShop) check(t *testing.T) {
	old := filepath.Join(s.project, "shop", "target")
	customers := filepath.Join("shop", "models", "marts", "customers.sql")
	compile := func() string {
		target := t.TempDir()
		parsed, err := os.ReadFile(filepath.Join(old, "partial_parse.msgpack")) // so that dbt parses only what has changed
		if err == nil {
			err = os.WriteFile(filepath.Join(target, "partial_parse.msgpack"), parsed, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		shop := filepath.Join(s.project, "shop")
		cmd := exec.Command(s.dbt, "--quiet", "compile", "--project-dir", shop, "--target-path", target)
		cmd.Env = append(append(os.Environ(), s.env...), "TIDEGATE_WAREHOUSE_PATH="+filepath.Join(t.TempDir(), "empty.duckdb"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return target
	}
	check := func(want bool, words ...string) {
		t.Helper()
		out, err := s.cli("dbt", "check", "--project", s.project, "--data", s.data, "--state", old, "--target", compile(), "--prove")
		if (err == nil) != want {
			t.Errorf("the check says %v: %s", err, out)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("the check does not say %q: %s", w, out)
			}
		}
	}
	check(true, "No sync breaks")
	s.edit(customers, "users.plan,", "users.plan as tier,")
	check(false, "dbt.column_dropped", "customers.plan", `renames it to "tier"`)
	s.edit(customers, "users.plan as tier,", "length(users.plan) as plan,")
	check(false, "dbt.column_type", "customers.plan")
	s.edit(customers, "length(users.plan) as plan,", "users.plan,")
	s.edit(filepath.Join("shop", "models", "marts", "customers.yml"), "- name: user_id\n        data_tests: [unique, not_null]", "- name: user_id")
	s.edit(filepath.Join("shop", "models", "marts", "customers.yml"), "- name: email\n        data_tests: [unique, not_null]", "- name: email")
	check(false, "dbt.key_unproven")
	if err := os.Rename(filepath.Join(s.project, customers), filepath.Join(s.project, "shop", "models", "marts", "clients.sql")); err != nil {
		t.Fatal(err)
	}
	s.edit(filepath.Join("shop", "models", "marts", "customers.yml"), "- name: customers\n", "- name: clients_of_old\n")
	s.edit(filepath.Join("shop", "models", "marts", "customers.yml"), "        tidegate:\n", "        other:\n")
	if err := os.Remove(filepath.Join(s.project, "shop", "models", "tidegate_exposures.yml")); err != nil {
		t.Fatal(err)
	}
	check(false, "dbt.model_dropped", "shop.customers")
}
