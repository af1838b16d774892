// Package pgtest runs a real PostgreSQL server for tests: one per test binary,
// in a temporary folder, stopped at the end.
//
// It is found where TIDEGATE_POSTGRES says (the folder of initdb), otherwise in
// /usr/lib/postgresql/*/bin (the newest) or on the PATH. The server refuses to run as root, so root runs it as the user postgres or nobody.
// Where there is none, Get leaves it to its caller whether that skips a test or
// fails it. The server does not sync to disk: it proves SQL, not disks.
//
// A Jump is an SSH server of this process, before a server that is to be reached
// through one.
//
// A Server is safe for concurrent use; its one goroutine is the wait for the
// server's process, which Stop joins. Those of a Jump end with its test.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Superuser is the role that owns the server; it needs no password unless Setup sets one.
const Superuser = "owner"

// Server is a running server.
type Server struct {
	Host string // loopback
	Port int
	Dir  string // of the unix socket
	Bin  string // of initdb, psql and so on

	root    string
	setup   Setup
	process *exec.Cmd
	ended   chan struct{}
	output  bytes.Buffer
	next    atomic.Int64
}

// Shared is the one server of a test binary. The zero value is ready; call
// Main from TestMain.
type Shared struct {
	Setup Setup // of the server that Get starts

	once   sync.Once
	server *Server
	err    error
}

// Get returns the server, started at the first call. Without one it calls
// missing (warehousetest.Missing), which must not return.
func (s *Shared) Get(tb testing.TB, missing func(tb testing.TB, name, why string)) *Server {
	tb.Helper()
	s.once.Do(func() { s.server, s.err = s.Setup.Start() })
	if errors.Is(s.err, errMissing) {
		missing(tb, "postgres", s.err.Error())
	}
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.server
}

// Stop stops the server if there is one. Call it after the tests have run.
func (s *Shared) Stop() {
	if s.server != nil {
		s.server.Stop()
	}
}

var errMissing = errors.New("no PostgreSQL server is installed (Debian: apt-get install postgresql)")

// bin is the folder of the server's programs.
func bin() (string, error) {
	if dir := os.Getenv("TIDEGATE_POSTGRES"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			return "", fmt.Errorf("TIDEGATE_POSTGRES: %w", err)
		}
		return dir, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errMissing
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// Setup is how a server lets clients in. The zero value trusts everybody.
type Setup struct {
	// Cert and Key, in PEM form, are what it shows to clients that ask for TLS. Without them it has none.
	Cert, Key []byte
	// Password is that of Superuser. With one every role needs its own (SCRAM-SHA-256).
	Password string
	// Encrypted: only Superuser comes in without TLS.
	Encrypted bool
}

// Start starts a server that trusts everybody.
func Start() (*Server, error) { return Setup{}.Start() }

// Start starts a server.
func (how Setup) Start() (s *Server, err error) {
	dir, err := bin()
	if err != nil {
		return nil, err
	}
	for range 3 { // another program may have taken the port meanwhile
		if s, err = startIn(dir, how); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func startIn(dir string, how Setup) (*Server, error) {
	root, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, fmt.Errorf("making the server's folder: %w", err)
	}
	s := &Server{Host: "127.0.0.1", Bin: dir, Dir: root, root: root, setup: how, ended: make(chan struct{})}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(root))
	}
	return s, nil
}

func (s *Server) start() error {
	who, err := runAs()
	if err != nil {
		return err
	}
	if who != nil {
		if err := os.Chown(s.root, int(who.Uid), int(who.Gid)); err != nil {
			return fmt.Errorf("giving the folder to the server: %w", err)
		}
		if err := s.bringPrograms(); err != nil {
			return err
		}
	}
	data := filepath.Join(s.root, "data")
	if err := s.initdb(who, data); err != nil {
		return err
	}
	if s.Port, err = freePort(); err != nil {
		return err
	}
	var settings []string
	if s.setup.Cert != nil {
		if settings, err = s.certify(who); err != nil {
			return err
		}
	}
	args := []string{"-D", data, "-k", s.root, "-h", s.Host, "-p", strconv.Itoa(s.Port)}
	for _, setting := range append(settings, "fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=300", "shared_buffers=64MB", "autovacuum=off", "log_min_messages=fatal") {
		args = append(args, "-c", setting)
	}
	s.process = s.command(who, "postgres", args...)
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	go func() {
		_ = s.process.Wait()
		close(s.ended)
	}()
	return s.ready()
}

// initdb makes the server's files, and says in them who is let in.
func (s *Server) initdb(who *syscall.Credential, data string) error {
	method := "trust"
	args := []string{"-D", data, "-U", Superuser, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"}
	if s.setup.Password != "" {
		method = "scram-sha-256"
		file := filepath.Join(s.root, "password")
		if err := s.write(who, file, []byte(s.setup.Password+"\n")); err != nil {
			return fmt.Errorf("writing the password: %w", err)
		}
		args = append(args, "--pwfile", file)
	}
	if out, err := s.command(who, "initdb", append(args, "-A", method)...).CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, out)
	}
	if !s.setup.Encrypted {
		return nil
	}
	rules := "hostnossl all " + Superuser + " all " + method + "\nhostssl all all all " + method + "\n"
	if err := s.write(who, filepath.Join(data, "pg_hba.conf"), []byte(rules)); err != nil {
		return fmt.Errorf("writing who is let in: %w", err)
	}
	return nil
}

// write writes a file that only the server can read.
func (s *Server) write(who *syscall.Credential, file string, text []byte) error {
	if err := os.WriteFile(file, text, 0o600); err != nil || who == nil {
		return err
	}
	return os.Chown(file, int(who.Uid), int(who.Gid))
}

// bringPrograms copies a server that lies in a folder of root's own, which another user
// may be unable to enter.
func (s *Server) bringPrograms() error {
	if os.Getenv("TIDEGATE_POSTGRES") == "" {
		return nil
	}
	to := filepath.Join(s.root, "programs")
	if out, err := exec.CommandContext(context.Background(), "cp", "-R", filepath.Dir(s.Bin), to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the server: %w: %s", err, out)
	}
	s.Bin = filepath.Join(to, "bin")
	return nil
}

// certify writes a certificate where only the server can read its key.
func (s *Server) certify(who *syscall.Credential) ([]string, error) {
	cert, key := filepath.Join(s.root, "server.crt"), filepath.Join(s.root, "server.key")
	if err := errors.Join(s.write(who, cert, s.setup.Cert), s.write(who, key, s.setup.Key)); err != nil {
		return nil, fmt.Errorf("writing the server's certificate: %w", err)
	}
	return []string{"ssl=on", "ssl_cert_file=" + cert, "ssl_key_file=" + key}, nil
}

// command runs a program of the server as who, and kills it when the tests die.
func (s *Server) command(who *syscall.Credential, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), filepath.Join(s.Bin, name), args...)
	c.Dir = s.root
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = attributes(who)
	return c
}

// runAs is whom root runs the server as; nil for oneself.
func runAs() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("starting the server: it cannot run as root, and there is no user postgres or nobody")
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// ready waits until the server takes connections.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgconn.Connect(ctx, s.URL(Superuser, "postgres"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("starting the server: it ended: %s", s.output.String())
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("starting the server: %w", err)
		case <-tick.C:
		}
	}
}

// URL is a connection string of a role for a database. It holds the password of Superuser and of no other role.
func (s *Server) URL(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort(s.Host, strconv.Itoa(s.Port)), Path: database, RawQuery: "sslmode=disable"}
	if role == Superuser && s.setup.Password != "" {
		u.User = url.UserPassword(role, s.setup.Password)
	}
	return u.String()
}

// Exec runs statements in a database as the superuser.
func (s *Server) Exec(tb testing.TB, database, sql string) {
	tb.Helper()
	ctx := context.Background()
	c, err := pgconn.Connect(ctx, s.URL(Superuser, database))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// Database makes an empty database, dropped when tb ends, and returns its name.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), s.next.Add(1)) // several processes may share the server
	s.Exec(tb, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0 STRATEGY file_copy")
	tb.Cleanup(func() { s.Exec(tb, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return name
}

// Psql runs the server's own client; stdin may be empty.
func (s *Server) Psql(tb testing.TB, database, command, stdin string) string {
	tb.Helper()
	client := filepath.Join(s.Bin, "psql")
	if _, err := os.Stat(client); err != nil {
		client = "psql" // some servers come without
	}
	c := exec.CommandContext(tb.Context(), client, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", s.URL(Superuser, database), "-c", command)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		tb.Fatalf("psql: %v: %s", err, out)
	}
	return string(out)
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() {
	_ = s.process.Process.Signal(syscall.SIGINT) // a fast shutdown
	kill := time.AfterFunc(20*time.Second, func() { _ = s.process.Process.Kill() })
	<-s.ended
	kill.Stop()
	_ = os.RemoveAll(s.root)
}
