package app_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
)

// TestWhileTheWarehouseIsLent: whoever asks is told who has it since when; a sync that is due waits and does
// not fail, doctor finds nothing to mend, and a second borrower is told too.
func TestWhileTheWarehouseIsLent(t *testing.T) {
	o := options(t, oneSource+`destinations: [{name: hook, kind: webhook, config: {url: "https://example.com"}}]
models: [{name: people, sql: "select 1 as id where false", primary_key: [id]}]
syncs: [{name: crm, model: people, destination: hook, object: records, mapping: {identifier: id, fields: [{field: id, column: id}]}, schedule: {every: 1s}}]
`)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	const by = "lent to `dbt` since 20"
	err = a.Hub.Lend(ctx, "`dbt`", func(ctx context.Context, _ string) error {
		before, err := a.Hub.Runs(ctx, "crm", "", 100)
		if err != nil {
			return err
		}
		wait(t, "the sync to be due", func() bool {
			st, err := a.Hub.Sync(ctx, "crm")
			return err == nil && strings.Contains(st.Reason, "it waits: the warehouse is "+by)
		})
		if status, err := send(t, a, `{"event":"A","userId":"u"}`); err != nil || status != 200 {
			t.Errorf("an event while it is lent: status %d, %v", status, err)
		}
		after, err := a.Hub.Runs(ctx, "crm", "", 100)
		if err != nil {
			return err
		}
		if len(after) != len(before) {
			t.Errorf("a run was made: %+v", after[0])
		}
		r := a.Hub.Ready(ctx)
		if !r.Ready {
			t.Errorf("not ready: %+v", r.Stages)
		}
		for _, s := range r.Stages {
			if told := strings.Contains(s.Detail, by); !told && s.Name != "journal" {
				t.Errorf("stage %s says %q", s.Name, s.Detail)
			}
		}
		for _, f := range a.Hub.Doctor(ctx) {
			if f.Level == "error" || f.Check == "warehouse.open" && !strings.Contains(f.Detail, by) {
				t.Errorf("doctor says %+v", f)
			}
		}
		err = a.Hub.Lend(ctx, "a notebook", func(context.Context, string) error { t.Error("lent twice"); return nil })
		if f := tidegate.FaultOf(err); f == nil || f.Code != "warehouse.yielded" || !strings.Contains(f.Message, by) {
			t.Errorf("the second borrower heard %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wait(t, "the sync to run", func() bool {
		st, err := a.Hub.Sync(ctx, "crm")
		return err == nil && st.Last != nil && st.Last.State == tidegate.RunSucceeded && !strings.Contains(st.Reason, "lent")
	})
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

// TestDoctorSaysWhyNothingIsLoaded: doctor finds what /readyz finds. A warehouse that answers may still refuse what the loader writes.
func TestDoctorSaysWhyNothingIsLoaded(t *testing.T) {
	o := options(t, oneSource)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	finding := func(check string) api.Finding {
		for _, f := range a.Hub.Doctor(ctx) {
			if f.Check == check {
				return f
			}
		}
		return api.Finding{}
	}
	if f := finding("loader"); f.Level != "ok" {
		t.Errorf("while all is well: %+v", f)
	}
	for _, sql := range []string{"create schema web", "create view web.tracks as select 1 as id"} {
		if _, err := a.Hub.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if status, err := send(t, a, `{"event":"A","userId":"u"}`); err != nil || status != 200 {
		t.Fatalf("status %d, %v", status, err)
	}
	wait(t, "the loader to fail", func() bool { return !a.Hub.Ready(ctx).Ready })
	if f := finding("loader"); f.Level != "error" || !strings.Contains(f.Detail, "1 events wait") || !strings.Contains(f.Hint, "nothing is lost") {
		t.Errorf("doctor says %+v", f)
	}
	if f := finding("warehouse.open"); f.Level != "ok" {
		t.Errorf("the warehouse: %+v", f)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
