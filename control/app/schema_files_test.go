package app_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/local"
)

// commandOf runs the whole command line on the project and the data folder of o.
func commandOf(t *testing.T, o app.Options, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), cli.Env{
		Args: append([]string{"--data", o.Data, "--project", o.Project}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return map[string]string{"USER": "ada"}[name] }, Now: time.Now, Version: "test", HTTP: &http.Client{}, Local: local.New("test", time.Now),
	})
	return code, out.String(), errs.String()
}

// TestSchemaWithoutAServer: the schema commands say and do the same while no server
// runs, and the server that is started afterwards goes on from there.
func TestSchemaWithoutAServer(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource+"settings: {admin_addr: \"127.0.0.1:0\"}\n")
	if code, _, errs := commandOf(t, o, "schema"); code == 0 || !strings.Contains(errs, "no such folder") {
		t.Errorf("before there is anything: %d, %s", code, errs)
	}
	if _, err := os.Stat(o.Data); err == nil {
		t.Error("looking made a data folder")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	const first, second = `{"event":"Sold","userId":"u","messageId":"m1","properties":{"total":1}}`, `{"event":"Sold","userId":"u","messageId":"m2","properties":{"total":2.5,"Total":3}}`
	sendAll(t, a, first, second)
	said := map[string]string{}
	for _, args := range []string{"schema", "schema web.sold --columns", "schema history web.sold --json", "schema collisions", "schema widen web.sold.total"} {
		code, out, errs := commandOf(t, o, strings.Fields(args)...)
		if said[args] = out; code != 0 || out == "" {
			t.Errorf("%s: %d, %s", args, code, errs)
		}
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Fatal(err)
	}
	for args, want := range said {
		if code, out, errs := commandOf(t, o, strings.Fields(args)...); code != 0 || out != want {
			t.Errorf("%s without a server: %d, %s\n%s\nwith one:\n%s", args, code, errs, out, want)
		}
	}
	if code, out, errs := commandOf(t, o, "schema", "widen", "web.sold.total", "--yes"); code != 0 || !strings.Contains(out, "is float now") {
		t.Errorf("widen: %d\n%s%s", code, out, errs)
	}
	if _, out, _ := commandOf(t, o, "schema", "history", "web.sold", "--limit", "1"); !strings.Contains(out, "the command line of ada") {
		t.Errorf("the history does not say who: %s", out)
	}

	a = hubOf(t, o)
	sendAll(t, a, strings.Replace(first, `"m1"`, `"m3"`, 1), `{"event":"Sold","userId":"u","messageId":"m4","properties":{"total":0.25}}`)
	if got := one(t, a, "SELECT sum(total) || ' of ' || count(*) FROM web.sold"); got != "4.75 of 4" && got != "5.25 of 4" { // of Total and total one is kept
		t.Errorf("the sum is %s", got)
	}
	if got := one(t, a, "SELECT count(*) FROM web.tidegate_discards WHERE column_name = 'total' AND reason = 'type_conflict'"); got != "0" {
		t.Errorf("%s values are still set aside", got)
	}
}

// TestSchemaOfAnotherFolder: a data folder that no server has is not looked into while
// the project's server runs with another.
func TestSchemaOfAnotherFolder(t *testing.T) {
	t.Parallel()
	o := options(t, oneSource)
	a := hubOf(t, o)
	text := oneSource + "settings: {admin_addr: \"" + strings.TrimPrefix(a.Addresses.Admin, "http://") + "\"}\n"
	if err := os.WriteFile(filepath.Join(o.Project, "tidegate.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	other := o
	other.Data = t.TempDir()
	for _, verb := range []string{"schema", "schema widen web.sold.total --yes", "schema history", "schema collisions"} {
		if code, _, errs := commandOf(t, other, strings.Fields(verb)...); code == 0 || !strings.Contains(errs, "one with another runs at") {
			t.Errorf("%s: %d, %s", verb, code, errs)
		}
	}
	if code, _, errs := commandOf(t, o, "schema"); code != 0 {
		t.Errorf("its own folder: %s", errs)
	}
}
