package app

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

// TestListenSaysWhatToDo: an address that is taken and one that is none have other mends.
func TestListenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	l, err := listen("127.0.0.1:0", "ingest")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for addr, want := range map[string]string{l.Addr().String(): "stop what listens there", "nonsense": "as HOST:PORT with --ingest-addr", "127.0.0.1:99999": "as HOST:PORT", "192.0.2.1:80": "an address of this machine"} {
		_, err := listen(addr, "ingest")
		if f := tidegate.FaultOf(err); err == nil || f.Code != "listen.failed" || !strings.Contains(f.Hint, want) {
			t.Errorf("%s: %v, hint %q", addr, err, f.Hint)
		}
	}
}
