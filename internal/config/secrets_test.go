package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/secret"
)

func testLookup() config.Lookup {
	env := map[string]string{"TOKEN": "hunter2", "EMPTY": ""}
	files := map[string]string{"/run/token": "from-file\r\n"}
	return config.LookupFrom(
		func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		func(path string) ([]byte, error) {
			if s, ok := files[path]; ok {
				return []byte(s), nil
			}
			return nil, os.ErrNotExist
		},
		func(name string) (string, error) {
			if name == "CRM" {
				return "from-store", nil
			}
			return "", &tidegate.Fault{Action: tidegate.Halt, Code: "secret.not_found", Subject: "secret " + name, Message: "the store has no such secret", Hint: "run: tidegate secrets set " + name}
		})
}

func TestResolve(t *testing.T) {
	t.Parallel()
	p := project{
		Name: "${env:TOKEN}", // not a secret field: stays
		Auth: &auth{Token: secret.New("Bearer ${env:TOKEN}"), Old: "${file:/run/token}"}, Headers: map[string]string{"A": "plain", "B": "${env:TOKEN}", "C": "Basic ${secret:CRM}"},
	}
	var plain []string
	if err := config.Resolve(&p, testLookup(), func(path string) { plain = append(plain, path) }); err != nil {
		t.Fatal(err)
	}
	if p.Name != "${env:TOKEN}" || p.Auth.Token.Reveal() != "Bearer hunter2" || p.Auth.Old != "from-file" || p.Headers["A"] != "plain" || p.Headers["B"] != "hunter2" || p.Headers["C"] != "Basic from-store" {
		t.Errorf("%+v %q %+v", p.Name, p.Auth.Token.Reveal(), p)
	}
	if !slices.Equal(plain, []string{"headers.A"}) {
		t.Errorf("plaintext secrets: %v", plain)
	}
}

// TestResolveSaysWhatTheStoreSays: the fault of a lookup knows the mend.
func TestResolveSaysWhatTheStoreSays(t *testing.T) {
	t.Parallel()
	a := auth{Token: secret.New("${secret:LOST}")}
	f := tidegate.FaultOf(config.Resolve(&a, testLookup(), nil))
	if f.Code != "secret.not_found" || f.Subject != "field token" || f.Hint != "run: tidegate secrets set LOST" || f.Message != "the reference ${secret:LOST} does not lead to a secret: the store has no such secret" {
		t.Errorf("%#v", f)
	}
	f = tidegate.FaultOf(config.Resolve(&a, config.LookupFrom(os.LookupEnv, os.ReadFile, nil), nil))
	if f.Code != "secret.unresolved" || !strings.Contains(f.Message, "not available here") {
		t.Errorf("%#v", f)
	}
}

func TestResolveFails(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"${env:NOPE}":                  "the environment variable NOPE is not set",
		"${env:EMPTY}":                 "it is empty",
		"${file:/nope}":                "reading the file",
		"${vault:x}":                   "only ${env:NAME}, ${file:PATH} and ${secret:NAME} are known",
		"hunter2-${env:TOKEN}${env:X}": "the environment variable X is not set",
	} {
		a := auth{Token: secret.New(ref)}
		err := config.Resolve(&a, testLookup(), nil)
		var f *tidegate.Fault
		if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Code != "secret.unresolved" || f.Subject != "field token" || f.Hint == "" {
			t.Errorf("%s: %#v", ref, err)
			continue
		}
		if !strings.Contains(f.Message, want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	got := config.Scrub(json.RawMessage(`{"name":"shop","auth":{"token":"hunter2","old":"${env:OLD}","kind":"bearer"},
		"headers":{"X":"hunter2","Y":"${file:/x}","Z":"hunter2${env:A}"},"toke":"hunter2","nested":{"a":["hunter2",1]},"on":true,"workers":3}`), &project{})
	want := `{"name":"shop","auth":{"token":"***","old":"${env:OLD}","kind":"bearer"},` +
		`"headers":{"X":"***","Y":"${file:/x}","Z":"***"},"toke":"***","nested":{"a":["***","***"]},"on":true,"workers":3}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := config.Scrub(json.RawMessage(`{hunter2`), &project{}); string(s) != "null" {
		t.Errorf("broken JSON: %s", s)
	}
}
