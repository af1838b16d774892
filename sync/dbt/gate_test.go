package dbt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// explained is the text and the hint of an error.
func explained(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error() + " | " + tidegate.FaultOf(err).Hint
}

// invocation writes run_results: "build: m=success not_null_m_id=pass".
func invocation(t testing.TB, id, words string) *Results {
	t.Helper()
	which, rest, _ := strings.Cut(words, ":")
	var results []string
	for _, w := range strings.Fields(rest) {
		name, status, _ := strings.Cut(w, "=")
		kind := "model"
		if strings.Contains(name, "_") {
			kind = "test"
		}
		if strings.HasPrefix(name, "unit") {
			kind = "unit_test"
		}
		results = append(results, fmt.Sprintf(`{"unique_id":"%s.p.%s","status":%q,"message":"got 3 results"}`, kind, name, status))
	}
	r, err := ReadResults(strings.NewReader(fmt.Sprintf(`{"metadata":{"invocation_id":%q,"generated_at":"2026-11-21T08:00:00.123456Z"},"args":{"which":%q},"results":[%s]}`, id, which, strings.Join(results, ","))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGate(t *testing.T) {
	t.Parallel()
	m := manifest(t, strings.Join([]string{modelNode("m"), modelNode("bare"), testNode("unique", "m", "id"), testNode("not_null", "m", "id")}, ","))
	withUnit, err := ReadManifest(strings.NewReader(`{"nodes":{`+modelNode("m")+`},"unit_tests":{"unit_test.p.unit_m":{"name":"unit_m","depends_on":{"nodes":["model.p.m"]}}}}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const passed = "passed"
	for _, c := range []struct {
		name        string
		invocations []string // in this order
		want        string   // of m: passed, or a part of the reason
		touched     string   // by the last invocation
	}{
		{"never seen", nil, "no dbt invocation", ""},
		{"built and tested", []string{"build: m=success unique_m_id=pass not_null_m_id=pass"}, passed, "model.p.m"},
		{"a warning passes", []string{"build: m=success unique_m_id=warn not_null_m_id=pass"}, passed, "model.p.m"},
		{"a test fails", []string{"build: m=success unique_m_id=fail not_null_m_id=pass"}, "unique_m_id did not pass: fail, got 3 results", "model.p.m"},
		{"a test errs", []string{"build: m=success unique_m_id=error not_null_m_id=pass"}, "unique_m_id did not pass: error", "model.p.m"},
		{"a test is skipped", []string{"build: m=success unique_m_id=skipped not_null_m_id=pass"}, "unique_m_id did not pass: skipped", "model.p.m"},
		{"the build fails", []string{"build: m=error"}, "did not build it: error", "model.p.m"},
		{"a microbatch is left out", []string{"run: m=partial_success"}, "did not build it: partial_success", "model.p.m"},
		{"the build is skipped", []string{"build: m=skipped unique_m_id=skipped not_null_m_id=skipped"}, "did not build it: skipped", "model.p.m"},
		{"built without tests", []string{"run: m=success"}, "did not run its test", "model.p.m"},
		{"built with one test", []string{"build: m=success unique_m_id=pass"}, "did not run its test not_null_m_id", "model.p.m"},
		{"tested afterwards", []string{"run: m=success", "test: unique_m_id=pass not_null_m_id=pass"}, passed, "model.p.m"},
		{"tested in part afterwards", []string{"run: m=success", "test: unique_m_id=pass"}, "did not run its test", ""},
		{"another model's invocation", []string{"build: m=success unique_m_id=pass not_null_m_id=pass", "build: bare=error"}, passed, "model.p.bare"},
		{"a test alone passes again", []string{"build: m=success unique_m_id=pass not_null_m_id=pass", "test: unique_m_id=pass"}, passed, ""},
		{"a test alone fails later", []string{"build: m=success unique_m_id=pass not_null_m_id=pass", "test: unique_m_id=fail"}, "unique_m_id did not pass", "model.p.m"},
		{"rebuilt without tests", []string{"build: m=success unique_m_id=pass not_null_m_id=pass", "run: m=success"}, "did not run its test", "model.p.m"},
		{"compiled only", []string{"compile: m=success unique_m_id=success not_null_m_id=success"}, "no dbt invocation", ""},
		{"documented only", []string{"build: m=success unique_m_id=fail not_null_m_id=pass", "generate: m=success unique_m_id=success not_null_m_id=success"}, "unique_m_id did not pass", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var s State
			var touched []string
			for i, words := range c.invocations {
				r := invocation(t, fmt.Sprint("inv", i), words)
				s, touched = s.Update(m, r)
				if again, twice := s.Update(m, r); twice != nil || !again.Equal(s) {
					t.Errorf("the same invocation twice touches %v", twice)
				}
			}
			if got := strings.Join(touched, " "); got != c.touched {
				t.Errorf("touched %q, want %q", got, c.touched)
			}
			err := s.Blocked(m.Models["model.p.m"])
			switch {
			case c.want == passed && err != nil:
				t.Errorf("blocked: %v", err)
			case c.want != passed && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s does not say %q", explained(err), c.want)
			}
		})
	}
	t.Run("unit tests", func(t *testing.T) {
		t.Parallel()
		s, _ := State{}.Update(withUnit, invocation(t, "a", "build: m=success"))
		if err := s.Blocked(withUnit.Models["model.p.m"]); err != nil {
			t.Errorf("a unit test that production leaves out blocks: %v", err)
		}
		s, _ = s.Update(withUnit, invocation(t, "b", "build: m=success unit_m=fail"))
		if err := s.Blocked(withUnit.Models["model.p.m"]); err == nil {
			t.Error("a unit test that fails does not block")
		}
	})
}

// TestGateOfRealResults takes what `dbt build` of examples/dbt wrote.
func TestGateOfRealResults(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v9", "v10", "v11", "v12"} {
		a := readReal(t, version)
		s, touched := State{}.Update(a.Manifest, a.Results)
		if d := cmp.Diff([]string{"model.shop.customers", "model.shop.orders"}, touched); d != "" {
			t.Error(version, d)
		}
		if err := s.Blocked(a.Manifest.Models["model.shop.customers"]); err != nil {
			t.Error(version, err)
		}
		if a.Results.At().IsZero() {
			t.Error(version, "has no time")
		}
	}
}
