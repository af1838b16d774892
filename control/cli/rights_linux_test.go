package cli_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/internal/vfs/vfstest"
)

// TestADataFolderOfAnotherUser: whoever may not read it is told how to reach the server.
func TestADataFolderOfAnotherUser(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "rights") // where nobody may read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "server.json"), []byte(`{"admin_url":"http://127.0.0.1:1"}`), 0o000))
	if err != nil {
		t.Fatal(err)
	}
	var out, failed bytes.Buffer
	e := cli.Env{
		Args: []string{"status", "--data", dir}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &failed,
		Getenv: func(string) string { return "" }, Now: time.Now, HTTP: &http.Client{}, Local: local(),
	}
	vfstest.AsNobody(func() { cli.Run(t.Context(), e) })
	if said := failed.String(); !strings.Contains(said, "data.not_readable: data folder "+dir) || !strings.Contains(said, "TIDEGATE_TOKEN") {
		t.Errorf("it says %q", said)
	}
}
