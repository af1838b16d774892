package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestBrowserSDK(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := browserSDK(dir); tidegate.FaultOf(err).Code != "sdk.unreadable" {
		t.Errorf("a folder without the script: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "analytics.min.js"), []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := browserSDK(dir); err != nil || string(text) != "ours" {
		t.Errorf("a folder with it: %q, %v", text, err)
	}
	if _, err := browserSDK(""); err != nil {
		t.Errorf("what the binary has, or not: %v", err)
	}
}
