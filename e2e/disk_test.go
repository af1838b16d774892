package e2e

import (
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull fills the disk of the data folder under a running server: it
// answers 503 with Retry-After and stays up, and goes on by itself when there
// is space again. Nothing that was acknowledged is missing afterwards.
func TestDiskFull(t *testing.T) {
	n := newNode(t, map[string]string{"tidegate.yaml": smallProject})
	if err := os.MkdirAll(n.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", n.data, "tmpfs", 0, "size=512m"); err != nil {
		if required("tmpfs") {
			t.Fatalf("TIDEGATE_REQUIRE names tmpfs, which cannot be mounted here: %v", err)
		}
		t.Skipf("NOT TESTED: a full disk. It needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		n.kill()
		if err := syscall.Unmount(n.data, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.start()
	s := &sender{node: n, acked: map[string]bool{}}
	sendOne := func() (status int, retryAfter string) {
		ids, body := s.body()
		req, err := http.NewRequest(http.MethodPost, "http://"+n.ingest+"/v1/batch", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("WK", "")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("the server must stay up on a full disk: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			for _, id := range ids {
				s.acked[id] = true
			}
		}
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	for range 200 {
		if status, _ := sendOne(); status != http.StatusOK {
			t.Fatalf("status %d with space on the disk", status)
		}
	}
	ballast := filepath.Join(n.data, "ballast")
	if out, err := exec.Command("dd", "if=/dev/zero", "of="+ballast, "bs=64k").CombinedOutput(); err == nil {
		t.Fatalf("the disk did not fill up: %s", out)
	}
	refused := false
	var big strings.Builder // fills what is claimed in advance; the journal packs what repeats
	for random := rand.New(rand.NewPCG(1, 2)); big.Len() < 200_000; {
		big.WriteString(strconv.FormatUint(random.Uint64(), 36))
	}
	for range 2000 {
		status, answer, err := n.post("/v1/track", `{"event":"Big","userId":"u","messageId":"big-`+time.Now().Format("150405.000000000")+`","properties":{"blob":"`+big.String()+`"}}`)
		if err != nil {
			t.Fatalf("the server must stay up on a full disk: %v", err)
		}
		if status != http.StatusOK {
			if status != http.StatusServiceUnavailable {
				t.Fatalf("status %d %q on a full disk, want 503", status, answer)
			}
			refused = true
			break
		}
	}
	if !refused {
		t.Fatal("a full disk refused nothing")
	}
	if status, after := sendOne(); status != http.StatusServiceUnavailable || after == "" {
		t.Errorf("status %d, Retry-After %q, want 503 with a time", status, after)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.waitFor(15*time.Second, "events to be accepted again", func() bool {
		status, _ := sendOne()
		return status == http.StatusOK
	})
	for range 50 {
		sendOne()
	}
	s.open = nil
	s.checkWarehouse(t)
}
