package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// trackerScript is an SDK for Node as a program; it says how it is spoken to.
const trackerScript = "../sdk-js/test/e2e/tracker.mjs"

// nodeSDKs are the columns of Node, none where there is no Node or sdk-js is not built.
func nodeSDKs(t *testing.T) []sdk {
	t.Helper()
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat("../sdk-js/dist/esm/server.js")
	}
	if err != nil {
		message := "sdk-js is left out: " + err.Error() + " (make sdk-js builds it)"
		if required("node") {
			t.Fatal(message)
		}
		t.Log("NOT TESTED: " + message)
		return nil
	}
	script, err := filepath.Abs(trackerScript)
	if err != nil {
		t.Fatal(err)
	}
	column := func(name, kind string, ours bool) sdk {
		return sdk{
			name: name, ours: ours,
			open: func(endpoint, spool string) (tracker, error) {
				return openNode(exec.Command(node, script, kind, endpoint, spool))
			},
		}
	}
	return []sdk{column("sdk-js", "ours", true), column("analytics-node", "segment", false)}
}

// nodeTracker speaks to a program over its input and output.
type nodeTracker struct {
	mu  sync.Mutex
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func openNode(cmd *exec.Cmd) (tracker, error) { return startNode(cmd) }

func startNode(cmd *exec.Cmd) (*nodeTracker, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	return &nodeTracker{cmd: cmd, in: in, out: bufio.NewScanner(out)}, cmd.Start()
}

func (n *nodeTracker) track(user string, step int, id string) error {
	return n.say(fmt.Sprintf("%s %d %s", user, step, id), "ok "+id)
}

// say sends a line and waits for the answer.
func (n *nodeTracker) say(line, answer string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := fmt.Fprintln(n.in, line); err != nil {
		return err
	}
	return n.expect(answer)
}

func (n *nodeTracker) expect(line string) error {
	if !n.out.Scan() {
		return errors.Join(errors.New("the program ended"), n.out.Err())
	}
	if n.out.Text() != line {
		return fmt.Errorf("the program said %q, want %q", n.out.Text(), line)
	}
	return nil
}

func (n *nodeTracker) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.in.Close(), n.expect("closed"), n.cmd.Wait())
}
