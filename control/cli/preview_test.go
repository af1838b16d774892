package cli_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/cli"
)

// TestAPreviewHasALimit: a model that the warehouse does not finish is given up, and the server is told.
func TestAPreviewHasALimit(t *testing.T) {
	t.Parallel()
	told := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(told)
	}))
	defer server.Close()
	var out, errs strings.Builder
	code := cli.Run(t.Context(), cli.Env{
		Args: []string{"model", "preview", "slow", "--timeout", "20ms", "--server", server.URL}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" }, Now: time.Now, HTTP: server.Client(), Local: local(),
	})
	if code != cli.ExitError || !strings.Contains(errs.String(), "within 20ms; it was told to stop") || !strings.Contains(errs.String(), "--timeout") {
		t.Errorf("%d: %s", code, errs.String())
	}
	<-told
}
