package webhook

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
)

// TestConfigsThatAreWrong holds each testdata/config/*.bad.yaml to the message
// beside it; -update writes the messages.
func TestConfigsThatAreWrong(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/config/*.bad.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			err = config.DecodeYAML(filepath.Base(file), data, Kind().NewConfig())
			if err == nil {
				t.Fatal("it is taken")
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What only resolved secrets show is found when the destination is opened.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"secret_url: ftp://x":                                 "must begin with https",
		"secret_url: BASE/{nobody}":                           "placeholder",
		"secret_url: BASE/x/{identifier}\nbatch: true":        "batch",
		"secret_url: BASE/x\ncheck_url: https://else.where/":  "same host",
		"secret_url: BASE/x\nremoved: {url: https://else/}":   "same host",
		"url: BASE/\nauth: {kind: hmac, secret: short}":       "fewer than 16 bytes",
		"url: BASE/\nauth: {kind: hmac, secret: whsec_%%%%}":  "not base64",
		"url: BASE/\nauth: {kind: bearer, token: \"a\\nb\"}":  "control character",
		"url: BASE/\nsecret_headers: {X-Other: \"a\\r\\nb\"}": "control character",
	} {
		_, err := tryConnect(t, "https://h.example", text)
		f := tidegate.FaultOf(err)
		if f == nil || f.Action != tidegate.Halt || !strings.Contains(f.Message, want) || strings.Contains(err.Error(), "h.example") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{
		"auth: {kind: basic, username: u, password: p}":       {"Authorization", "Basic dTpw"},
		"auth: {kind: bearer, token: t}":                      {"Authorization", "Bearer t"},
		"auth: {kind: header, token: t}":                      {"X-Api-Key", "t"},
		"auth: {kind: header, header: api_key, token: t}":     {"Api_key", "t"},
		"headers: {X-Plain: v, Accept: text/plain}":           {"Accept", "text/plain"},
		"secret_headers: {X-Hidden: t}":                       {"X-Hidden", "t"},
		"content_type: application/vnd.x+json; charset=utf-8": {"Content-Type", "application/vnd.x+json; charset=utf-8"},
		"idempotency_header: X-Request-Id":                    {"X-Request-Id", "k-a"},
		"auth: {kind: hmac, secret: 0123456789abcdef}":        {"Webhook-Timestamp", "1770000000"},
	} {
		e := serve(t, says(200, "", ""))
		d := connect(t, e.URL, "url: BASE/x\n"+text)
		if _, err := d.Write(t.Context(), batch(tidegate.Added, "a")); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.got()[0].header.Get(want[0]); got != want[1] {
			t.Errorf("%s: %s is %q, want %q", text, want[0], got, want[1])
		}
	}
}
