// Package chdbtest runs ClickHouse's own engine behind HTTP for tests: the
// library libchdb in a child process, which is this test binary again.
//
// The library is found in .cache/chdb of the repository, where `make chdb-env`
// puts it, or where TIDEGATE_LIBCHDB says. Where there is none, Get leaves it to
// its caller whether that skips a test or fails it. A database of the
// engine is a schema of the adapter, so that tests do not share a server; one starts in half a second.
//
// It is the engine and not the server: no users but one, no grants, no
// replication, no clusters, no native protocol. What it says over HTTP is this
// package's imitation, as far as the adapter uses it.
//
// A Server is safe for concurrent use; its one goroutine is the wait for the
// child, which Stop joins. The child ends with its parent.
package chdbtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The one user of a server.
const (
	User     = "default"
	Password = "open sesame"
)

const (
	serveEnv = "TIDEGATE_CHDBTEST_SERVE" // path of the data and address, in the child
	// LibEnv is where the library is when it is not in .cache.
	LibEnv = "TIDEGATE_LIBCHDB"
)

// Main is called first in TestMain: in the child it serves and does not return.
func Main() {
	at := os.Getenv(serveEnv)
	if at == "" {
		return
	}
	path, address, _ := strings.Cut(at, "|")
	lib, err := library()
	if err == nil {
		err = serve(lib, path, address)
	}
	_, _ = os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}

var errMissing = errors.New("the engine's library is not there (make chdb-env fetches it; it needs npm)")

// library finds libchdb.so from the working directory upwards.
func library() (string, error) {
	if path := os.Getenv(LibEnv); path != "" {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the engine: %w", err)
	}
	for {
		found, _ := filepath.Glob(filepath.Join(dir, ".cache", "chdb", "node_modules", "@chdb", "lib-*", "libchdb.*"))
		if len(found) > 0 {
			return found[0], nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errMissing
		}
		dir = parent
	}
}

// Server is a running engine.
type Server struct {
	Host string // loopback
	Port int

	root    string
	stdin   io.Closer
	process *exec.Cmd
	ended   chan struct{}
	output  bytes.Buffer
}

// Get starts a server for one test, and stops it at its end. Without the library it calls
// missing (warehousetest.Missing), which must not return.
func Get(tb testing.TB, missing func(tb testing.TB, name, why string)) *Server {
	tb.Helper()
	s, err := Start()
	if errors.Is(err, errMissing) {
		missing(tb, "clickhouse", err.Error())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Start starts a server in a temporary folder.
func Start() (*Server, error) {
	if _, err := library(); err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "chdbtest")
	if err != nil {
		return nil, fmt.Errorf("making the server's folder: %w", err)
	}
	s := &Server{Host: "127.0.0.1", root: root}
	for range 20 {
		if err = s.run(s.Host + ":" + strconv.Itoa(firstPort+rand.IntN(ports))); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(root))
}

// The ports of servers lie below those that systems hand out by themselves, so that
// a server that was killed finds its own free when it starts again.
const firstPort, ports = 20_000, 12_000

func (s *Server) run(address string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	s.process = exec.CommandContext(context.Background(), self)
	s.process.Env = append(os.Environ(), serveEnv+"="+filepath.Join(s.root, "data")+"|"+address)
	s.process.Stderr = &s.output
	stdin, err := s.process.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	s.stdin, s.ended = stdin, make(chan struct{})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	_, port, found := strings.Cut(strings.TrimSpace(line), ":")
	if err == nil && found {
		s.Port, err = strconv.Atoi(port)
	}
	if err != nil || !found {
		s.halt()
		return fmt.Errorf("starting the server: %w: %s", err, s.output.String())
	}
	return nil
}

// Kill ends the engine at once, as a crash would, and starts it again on the same data and port.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	_ = s.process.Process.Kill()
	<-s.ended
	if err := s.run(s.Address()); err != nil {
		tb.Fatal(err)
	}
}

// Address is host:port.
func (s *Server) Address() string { return s.Host + ":" + strconv.Itoa(s.Port) }

func (s *Server) halt() {
	_ = s.stdin.Close()
	kill := time.AfterFunc(20*time.Second, func() { _ = s.process.Process.Kill() })
	<-s.ended
	kill.Stop()
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	s.halt()
	_ = os.RemoveAll(s.root)
}
