package warehousetest

import (
	"bufio"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

var listens = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// Emulator starts a program, an emulator that others wrote, which says where it listens, and
// returns its address. The program ends with the test.
func Emulator(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), name, args...) // ended below
	in, err := cmd.StdinPipe()                                                     // open as long as it is wanted
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	address, read := make(chan string, 1), make(chan struct{})
	var last []string // lines, once read is closed
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if last = append(last, lines.Text()); len(last) > 20 {
				last = last[1:]
			}
			if found := listens.FindString(lines.Text()); found != "" {
				select {
				case address <- found:
				default:
				}
			}
		}
	}()
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		_ = in.Close()
	})
	late := time.NewTimer(2 * time.Minute)
	defer late.Stop()
	select {
	case found := <-address:
		return found
	case <-read:
		tb.Fatalf("%s ended without an address:\n%s", name, strings.Join(last, "\n"))
	case <-late.C:
		tb.Fatalf("%s does not say where it listens", name)
	}
	return ""
}
