package api_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestHomeLeadsToThePage: who opens the server's address in a browser sees something made for people.
func TestHomeLeadsToThePage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/docs" {
		t.Errorf("%d at %s", resp.StatusCode, resp.Request.URL)
	}
}

// TestDocsInABrowser opens the page at one operation's address.
func TestDocsInABrowser(t *testing.T) {
	t.Parallel()
	chromium := browser(t)
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dom, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=10000", "--dump-dom", r.server.URL+"/docs#startRun").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(dom), `<details id="startRun"`)
	head, rest, _ := strings.Cut(block, ">")
	block, _, _ = strings.Cut(rest, "</details>")
	if !found || !strings.Contains(head, "open") {
		t.Errorf("the operation that the address names is not open: %s", head)
	}
	for _, want := range []string{"/v1/syncs/{name}/runs", "Permission: operate.", `<pre tabindex="0" role="region" aria-label="Answer 200 of startRun"`} {
		if !strings.Contains(block, want) {
			t.Errorf("%q is missing in %.2000s", want, block)
		}
	}
}

func browser(t *testing.T) string {
	t.Helper()
	for _, path := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if slices.Contains(strings.Split(os.Getenv("TIDEGATE_REQUIRE"), ","), "chromium") {
		t.Fatal("Chromium is not installed, and TIDEGATE_REQUIRE names it")
	}
	t.Skip("SKIPPED: the page is not tested in a browser, because there is no Chromium; install it (Debian, Ubuntu: sudo apt-get install chromium), or name it in CHROMIUM")
	return ""
}
