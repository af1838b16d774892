package destinationtest

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testConfig holds the configuration's documentation and strictness. The
// schema is a golden file, so that a change of it is seen in review.
func testConfig(t *testing.T, s Suite) {
	t.Helper()
	var check func(path string, fields []config.Field)
	secrets := 0
	check = func(path string, fields []config.Field) {
		for _, f := range fields {
			at := path + f.Name
			if f.Doc == "" {
				t.Errorf("the field %s has no doc", at)
			}
			if f.Secret || f.Items != nil && f.Items.Secret {
				secrets++
			}
			check(at+".", f.Fields)
			if f.Items != nil {
				check(at+"[].", f.Items.Fields)
			}
		}
	}
	check("", config.Fields(s.Kind.NewConfig()))
	if secrets == 0 {
		t.Error("no field is a secret")
	}
	raw := s.Config("http://127.0.0.1:1")
	if !strings.Contains(string(raw), Canary) {
		t.Error("the suite's configuration does not plant the secret")
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	doc["no_such_field"] = 1
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var problems *config.Error
	if err := config.DecodeJSON("config", raw, s.Kind.NewConfig()); !errors.As(err, &problems) || !strings.Contains(err.Error(), "no_such_field") {
		t.Errorf("an unknown field: %v", err)
	}
	if scrubbed := config.Scrub(raw, s.Kind.NewConfig()); strings.Contains(string(scrubbed), Canary) {
		t.Errorf("an export shows the secret")
	}
	golden(t, "testdata/schema.json", config.Schema(s.Kind.NewConfig()))
	if s.Kind.Name == "" || s.Kind.Title == "" {
		t.Error("the kind has no name or no title")
	}
}

func golden(t *testing.T, file string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not current (run with -update):\n%s", file, diff)
	}
}

// testObjects holds the objects' data.
func testObjects(t *testing.T, s Suite) {
	t.Helper()
	b := start(t, s)
	list, err := b.dest.Objects(t.Context())
	if err != nil || len(list) == 0 {
		t.Fatalf("%d objects, %v", len(list), err)
	}
	names := map[string]bool{}
	for _, o := range list {
		if o.Name == "" || names[o.Name] {
			t.Errorf("object %q has no name or another's", o.Name)
		}
		names[o.Name] = true
		if l := o.Limit; l.Records < 1 || l.Concurrency < 1 || l.Bytes < 0 || l.Calls < 0 || (l.Calls > 0) != (l.Per > 0) {
			t.Errorf("%s: limits %+v", o.Name, l)
		}
		switch o.Safety {
		case destinations.Idempotent, destinations.Dedupable, destinations.Unsafe:
		default:
			t.Errorf("%s: safety %q", o.Name, o.Safety)
		}
		for mode, safety := range o.Safeties {
			if !slices.Contains(o.Modes, mode) || !slices.Contains([]destinations.Safety{destinations.Idempotent, destinations.Dedupable, destinations.Unsafe}, safety) {
				t.Errorf("%s: safety %q in mode %q", o.Name, safety, mode)
			}
		}
		if len(o.Removals) > 0 && !slices.Contains(o.Modes, tidegate.Mirror) {
			t.Errorf("%s: it has removals and no mode mirror", o.Name)
		}
		if len(o.Modes) == 0 {
			t.Errorf("%s has no mode", o.Name)
		}
		checkFields(t, o)
	}
	for _, sample := range s.Samples {
		if !names[sample.Object] {
			t.Errorf("the sample's object %s is not listed", sample.Object)
		}
	}
	if p, ok := b.dest.(destinations.Provisioner); ok {
		testProvisioner(t, b, p, list[0].Name)
	}
}

func checkFields(t *testing.T, o destinations.Object) {
	t.Helper()
	fields, identifiers := map[string]bool{}, 0
	for _, f := range o.Fields {
		if f.Name == "" || fields[f.Name] {
			t.Errorf("%s: field %q has no name or another's", o.Name, f.Name)
		}
		fields[f.Name] = true
		if f.Identifier {
			identifiers++
		}
		if f.Type.Kind == tidegate.Unknown {
			t.Errorf("%s: field %s has no type", o.Name, f.Name)
		}
		if f.Required && f.ReadOnly {
			t.Errorf("%s: field %s is required and cannot be written", o.Name, f.Name)
		}
	}
	if identifiers == 0 && !o.Open {
		t.Errorf("%s has no identifier", o.Name)
	}
}

// testProvisioner creates a field and finds it among the object's.
func testProvisioner(t *testing.T, b *bench, p destinations.Provisioner, object string) {
	t.Helper()
	want := destinations.Field{Name: "tidegate_test_field", Label: "Test field", Type: tidegate.Type{Kind: tidegate.String}}
	if err := p.CreateField(t.Context(), object, want); err != nil {
		t.Fatalf("creating a field: %v", err)
	}
	for _, f := range b.object(object).Fields {
		if f.Name == want.Name {
			if f.Type != want.Type || f.ReadOnly {
				t.Errorf("the created field is %+v", f)
			}
			return
		}
	}
	t.Error("the created field is not listed")
}

// testClose closes twice and writes afterwards.
func testClose(t *testing.T, s Suite) {
	t.Helper()
	b := start(t, s)
	for range 2 {
		if err := b.dest.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	b.proxy.arm(-1, nil)
	sample := s.Samples[0]
	if _, err := b.dest.Write(t.Context(), sample.batch(tidegate.Added, tidegate.Upsert, 1, sample.Record(0))); err == nil {
		t.Error("Write after Close succeeds")
	}
	if _, err := b.dest.Objects(t.Context()); err == nil {
		t.Error("Objects after Close succeeds")
	}
	if n, _, _ := b.proxy.tally(); n != 0 {
		t.Errorf("%d requests after Close", n)
	}
}

// testCheck proves good credentials without a write, and bad ones with a Halt.
func testCheck(t *testing.T, s Suite) {
	t.Helper()
	b := start(t, s)
	checker, ok := b.dest.(destinations.Checker)
	if !ok {
		t.Skip("the connector cannot check its credentials")
	}
	before, _ := b.sim.Calls()
	if err := checker.Check(t.Context()); err != nil {
		t.Errorf("good credentials: %v", err)
	}
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		b.proxy.arm(-1, status(code))
		err := checker.Check(t.Context())
		if err == nil {
			t.Errorf("%d: no error", code)
			continue
		}
		if f := faultOf(t, err); f.Action != tidegate.Halt || f.Hint == "" {
			t.Errorf("%d: %s, hint %q", code, f.Action, f.Hint)
		}
	}
	if after, _ := b.sim.Calls(); after != before {
		t.Error("the check wrote something")
	}
	if len(s.Samples) > 0 && len(b.sim.Records(s.Samples[0].Object)) != 0 {
		t.Error("the check left records")
	}
}
