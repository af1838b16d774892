package cli_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/cli"
)

// asked runs a command against a server that answers everything with answer.
func asked(t *testing.T, answer, line string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	var out, errs strings.Builder
	code := cli.Run(t.Context(), cli.Env{
		Args: append(strings.Fields(line), "--server", server.URL), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return map[string]string{"TIDEGATE_TOKEN": "t"}[name] },
		Now:    time.Now, HTTP: server.Client(), Local: local(),
	})
	if code != cli.ExitOK {
		t.Errorf("%s: %d, %s", line, code, errs.String())
	}
	return out.String()
}

// TestNothingToListIsSaid: where a table would have no row a sentence says so, and a program
// gets an empty list.
func TestNothingToListIsSaid(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"alerts", "forward list", "forward dead x", "forward dead x --causes", "token list", "privacy list", "privacy deletions", "events replay list",
		"schema", "schema history", "schema collisions", "secrets list", "sync log x", "sync status", "sync runs x", "sync rejections x", "sync rejections x --causes", "lineage",
		"events dead", "dbt list",
	} {
		const answer = `{"items":[]}`
		said := asked(t, answer, line)
		if strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, ".\n") || strings.ToUpper(said) == said {
			t.Errorf("%s says %q", line, said)
		}
		if said := asked(t, answer, line+" --json"); !json.Valid([]byte(said)) {
			t.Errorf("%s --json says %q", line, said)
		}
	}
}

// TestAlertsSayWhyNobodyWasTold: once for each alert, and whole, below a table that cuts long texts.
func TestAlertsSayWhyNobodyWasTold(t *testing.T) {
	t.Parallel()
	why := "its channel did not take the message: " + strings.Repeat("no route to host ", 10) + "end"
	said := asked(t, `{"items":[{"alert":"ops","sync":"a","condition":"failed","raised":true,"untold":"`+why+`"},{"alert":"ops","sync":"b","condition":"failed","raised":true,"untold":"`+why+`"}]}`, "alerts")
	if strings.Count(said, "Alert ops, not yet told: "+why+".") != 1 {
		t.Error(said)
	}
}

// TestWideningToTheTypeThatItHas says whether there was anything to do.
func TestWideningToTheTypeThatItHas(t *testing.T) {
	t.Parallel()
	said := asked(t, `{"schema":"web","table":"t","column":"c","old_type":"int","new_type":"string","done":true}`, "schema widen web.t.c --yes")
	if said != "web.t.c is string now, it was int; nothing of it was set aside.\n" {
		t.Errorf("of no value set aside it says %q", said)
	}
	const column = `"schema":"web","table":"t","column":"c","old_type":"string","new_type":"string"`
	for counts, want := range map[string]string{
		`"values":0,"done":false`:                        "nothing to widen",
		`"values":0,"done":true`:                         "nothing to widen",
		`"values":3,"done":false`:                        "3 values set aside. Those that fit go back into their rows with --yes",
		`"values":3,"done":true,"left":3`:                "none of 3 values set aside went back: name another type with --to.\n3 do not fit",
		`"values":3,"done":true,"backfilled":2,"left":1`: "web.t.c is string already: of 3 values set aside 2 went back into their rows.\n1 do not fit",
	} {
		if said := asked(t, "{"+column+","+counts+"}", "schema widen web.t.c --yes"); !strings.Contains(said, want) {
			t.Errorf("of %s it says %q", counts, said)
		}
	}
}

// TestReconcilingNothing says that there was nothing, once.
func TestReconcilingNothing(t *testing.T) {
	t.Parallel()
	if said := asked(t, `{"balanced":true}`, "events reconcile"); said != "No event came in those hours.\n" {
		t.Errorf("it says %q", said)
	}
}

// TestDeadEventsShowTheirMend as rejected records do.
func TestDeadEventsShowTheirMend(t *testing.T) {
	t.Parallel()
	said := asked(t, `{"items":[{"position":7,"type":"track","name":"Sold","code":"mapping.expression","message":"it failed","hint":"write has(x)"}]}`, "forward dead crm")
	if !strings.Contains(said, "mapping.expression  write has(x)  it failed") {
		t.Errorf("it says %q", said)
	}
}
