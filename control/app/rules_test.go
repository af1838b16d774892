package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
)

// rows are what a statement gives, one text a row.
func rows(t *testing.T, a *app.App, sql string) []string {
	t.Helper()
	r, err := a.Hub.Query(t.Context(), "", sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out []string
	for {
		row, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.Trim(fmt.Sprint([]any(row)), "[]"))
	}
}

const ruled = `
warehouse: {kind: duckdb}
sources: [{name: web, write_key: WK, tracking_plan: shop}]
tracking_plans:
  - name: shop
    version: 4
    actions: {unplanned_event: route, unplanned_property: omit, route: quarantine}
    events:
      Bought: {properties: {total: number!, email: string}}
      Strict: {actions: {violation: block}, properties: {n: integer!}}
transforms:
  - name: a_hash
    events: [Bought]
    steps: [{hash: {fields: [properties.email], salt: "${env:TIDEGATE_TEST_SALT}"}}]
  - name: b_script
    events: [Bought]
    script: |
      function transform(event) {
        if (event.properties.total < 0) throw new Error('negative')
        if (event.properties.total == 0) return null
        event.properties.cents = event.properties.total * 100
        return event
      }
`

// A hub with a plan and transformations: each event is found where its verdict says,
// and the books are right.
func TestRulesOfAHub(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_SALT", "pepper")
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.Start(ctx, options(t, ruled))
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		`{"event":"Bought","userId":"u","messageId":"good","properties":{"total":1.5,"email":"a@b.c","secret":"x"}}`,
		`{"event":"Bought","userId":"u","messageId":"wrong","properties":{"total":"2"}}`,
		`{"event":"Bought","userId":"u","messageId":"negative","properties":{"total":-1}}`,
		`{"event":"Bought","userId":"u","messageId":"nothing","properties":{"total":0}}`,
		`{"event":"Strict","userId":"u","messageId":"blocked","properties":{"n":"1"}}`,
		`{"event":"Nobody Planned","userId":"u","messageId":"away","properties":{"x":1}}`,
	} {
		if status, err := send(t, a, body); err != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d, %v", body, status, err)
		}
	}
	if err := a.Hub.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string][]string{
		"SELECT id, cents, length(email) FROM web.bought ORDER BY id":                                            {"good 150 64", "wrong 200 <nil>"},
		"SELECT count(*) FROM information_schema.columns WHERE table_name = 'bought' AND column_name = 'secret'": {"0"},
		"SELECT id FROM quarantine.nobody_planned":                                                               {"away"},
		"SELECT message_id, code FROM web.tidegate_dead_letters ORDER BY message_id":                             {"blocked plan.violation", "negative transform.failed"},
		"SELECT message_id, kind, action FROM web.tidegate_violations ORDER BY message_id, kind": {
			"away unplanned_event route", "blocked type block", "good unplanned_property omit", "wrong type mark",
		},
		"SELECT context_tracking_plan_id, context_tracking_plan_version FROM web.bought WHERE id = 'wrong'": {"shop 4"},
	} {
		if d := cmp.Diff(want, rows(t, a, sql)); d != "" {
			t.Errorf("%s (-want +got):\n%s", sql, d)
		}
	}
	source := a.Hub.Ready(ctx).Sources[0]
	if source.Accepted != 6 || source.Loaded != 3 || source.Dead != 2 {
		t.Errorf("the books say %+v", source)
	}

	e, err := a.Hub.Explain(ctx, "web", []byte(`{"type":"track","event":"Bought","userId":"u","properties":{"total":2}}`))
	if err != nil || e.Verdict == nil || e.Verdict.Fate != "kept" || !strings.Contains(string(e.Verdict.Event), `"cents":200`) || len(e.Tables) == 0 {
		t.Errorf("explained as %+v, %v", e, err)
	}
	if e, err = a.Hub.Explain(ctx, "web", []byte(`{"type":"track","event":"Strict","userId":"u","properties":{}}`)); err != nil || e.Verdict == nil || e.Verdict.Code != "plan.violation" || len(e.Tables) != 0 {
		t.Errorf("explained as %+v, %v", e, err)
	}

	// Rules are swapped as a whole; without their secret they are refused, and the old ones stay.
	p, _, err := a.Catalog.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changed := *p
	changed.Transforms = append([]tidegate.Transform{}, p.Transforms...)
	changed.Transforms[0].Steps = []tidegate.TransformStep{{Hash: &tidegate.HashStep{Fields: []string{"userId"}, Salt: "${env:TIDEGATE_TEST_NO_SUCH_SALT}"}}}
	if _, err := a.Catalog.Apply(ctx, &changed, "test", -1); tidegate.FaultOf(err).Code != "transform.needs" {
		t.Errorf("a salt that is not there: %v", err)
	}
	changed = *p
	changed.Transforms = nil
	if _, err := a.Catalog.Apply(ctx, &changed, "test", -1); err != nil {
		t.Fatal(err)
	}
	if status, err := send(t, a, `{"event":"Bought","userId":"u","messageId":"plain","properties":{"total":3,"email":"a@b.c"}}`); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
	if err := a.Hub.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a@b.c <nil>"}, rows(t, a, "SELECT email, cents FROM web.bought WHERE id = 'plain'")); d != "" {
		t.Errorf("after the rules went (-want +got):\n%s", d)
	}
	stop()
	if err := a.Wait(); err != nil {
		t.Errorf("a polite end: %v", err)
	}
}

// Without a server the project's rules explain and try events.
func TestRulesOffline(t *testing.T) {
	t.Setenv("TIDEGATE_TEST_SALT", "pepper")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, project.File), []byte(ruled), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := project.LoadDir(dir, app.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	o := app.Options{Project: dir, Now: time.Now}
	e, err := app.Explain(t.Context(), o, p, "web", []byte(`{"type":"track","event":"Other","userId":"u"}`))
	if err != nil || e.Verdict == nil || e.Verdict.Route != "quarantine" || len(e.Tables) == 0 || e.Tables[0].Schema != "quarantine" {
		t.Errorf("explained as %+v, %v", e, err)
	}
	if e, err = app.Explain(t.Context(), o, nil, "web", []byte(`{"type":"track","event":"Other","userId":"u"}`)); err != nil || e.Verdict != nil {
		t.Errorf("without a project: %+v, %v", e, err)
	}
	got, err := app.TryTransform(t.Context(), p, dir, o.Data, "b_script", []api.TransformTrial{
		{Source: "web", Event: []byte(`{"type":"track","event":"Bought","userId":"u","properties":{"total":1}}`)},
		{Source: "web", Event: []byte(`{"type":"track","event":"Bought","userId":"u","properties":{"total":0}}`)},
		{Source: "web", Event: []byte(`{"type":"track","event":"Other","userId":"u"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var short []string
	for _, v := range got {
		short = append(short, v.Fate+" "+string(v.Event))
	}
	want := []string{`kept {"type":"track","event":"Bought","userId":"u","properties":{"total":1,"cents":100}}`, "dropped ", `kept {"type":"track","event":"Other","userId":"u"}`}
	if d := cmp.Diff(want, short); d != "" {
		t.Error(d)
	}
	if _, err := app.TryTransform(t.Context(), p, dir, o.Data, "nobody", nil); tidegate.FaultOf(err).Code != "transform.not_found" {
		t.Errorf("a transformation that is not there: %v", err)
	}
}
