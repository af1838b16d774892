package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTheDataFolderIsPrivate: whatever the folder's own rights are, nobody else reads a file
// in it. The engine of the warehouse would let everybody read its log.
func TestTheDataFolderIsPrivate(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	if err := os.MkdirAll(n.data, 0o755); err != nil {
		t.Fatal(err)
	}
	n.start()
	if status, _, err := n.post("/v1/track", `{"userId":"u1","event":"Sold","messageId":"m1"}`); err != nil || status != 200 {
		t.Fatalf("status %d, %v", status, err)
	}
	n.waitFor(20*time.Second, "the event to be a row", func() bool {
		count, err := n.queryInt("SELECT count(*) FROM web.sold")
		return err == nil && count == 1
	})
	seen := map[string]bool{}
	err := filepath.WalkDir(n.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == n.data {
			return err
		}
		seen[d.Name()] = true
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the rights %v", path, info.Mode())
		}
		return err
	})
	if err != nil || !seen["warehouse.duckdb.wal"] {
		t.Errorf("the folder holds %v, %v", seen, err)
	}
}
