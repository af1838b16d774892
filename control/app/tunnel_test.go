package app_test

import (
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
)

// throughTunnel starts a server and an SSH server before it, and says how a project names both.
func throughTunnel(t *testing.T) (config, ssh map[string]any) {
	t.Helper()
	j := pgtest.StartJump(t)
	ssh = map[string]any{"host": j.Host, "port": j.Port, "user": j.User, "private_key": inFile(t, j.PrivateKey), "passphrase": inFile(t, j.Passphrase), "host_key": j.HostKey}
	return everywhere["postgres"](t), ssh
}

// TestCheckThroughTunnel: a warehouse behind an SSH server passes its check, and each setting of the way to it that
// is wrong is told by its name.
func TestCheckThroughTunnel(t *testing.T) {
	t.Parallel()
	config, ssh := throughTunnel(t)
	stranger := pgtest.StartJump(t)
	tunnelled := func(say map[string]any) map[string]any {
		changed := maps.Clone(ssh)
		maps.Copy(changed, say)
		return map[string]any{"ssh": changed}
	}
	right := maps.Clone(config)
	maps.Copy(right, tunnelled(nil))
	if d := cmp.Diff([]string(nil), failed(checkWarehouse(t, "postgres", right))); d != "" {
		t.Error(d)
	}
	for _, wrong := range []mistake{
		{"another user key", tunnelled(map[string]any{"private_key": inFile(t, stranger.PrivateKey)}), "connect", "auth.refused", "ssh.private_key into the authorized_keys of ssh.user"},
		{"another user", tunnelled(map[string]any{"user": "root"}), "connect", "auth.refused", "ssh.user"},
		{"wrong passphrase", tunnelled(map[string]any{"passphrase": inFile(t, "opens nothing")}), "connect", "warehouse.config", "ssh.private_key"},
		{"no key", tunnelled(map[string]any{"private_key": inFile(t, "opens nothing")}), "connect", "warehouse.config", "ssh.private_key"},
		{"another host key", tunnelled(map[string]any{"host_key": stranger.HostKey}), "connect", "warehouse.ssh_host_key", "ssh.host_key"},
		{"no host key", tunnelled(map[string]any{"host_key": "127.0.0.1 nothing"}), "connect", "warehouse.config", "ssh.host_key"},
		{"nobody is there", tunnelled(map[string]any{"port": 1}), "connect", "warehouse.ssh", "ssh.port"},
		{"no such host", tunnelled(map[string]any{"host": "jump.invalid"}), "connect", "warehouse.ssh", "ssh.host"},
		{"no SSH there", tunnelled(map[string]any{"port": config["port"]}), "connect", "warehouse.ssh", "ssh.port"},
	} {
		wrong.find(t, "postgres", config)
	}
	maps.Copy(config, tunnelled(nil))
	for _, wrong := range []mistake{
		{"no server behind it", map[string]any{"port": 1}, "connect", "warehouse.connection", "as they are seen from there"},
		{"wrong password behind it", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "password"},
		{"no TLS behind it", map[string]any{"tls": "require"}, "connect", "warehouse.tls", "tls: disable"},
	} {
		wrong.find(t, "postgres", config)
	}
}

// TestCheckOfASilentHost: an SSH server, or a server, that lets one connect and then says nothing, as behind a firewall that drops
// what it does not like, is told by name before the patience of the check is over.
func TestCheckOfASilentHost(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel takes connections that nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	j := pgtest.StartJump(t)
	port := silent.Addr().(*net.TCPAddr).Port
	ssh := map[string]any{"host": j.Host, "port": port, "user": j.User, "private_key": inFile(t, j.PrivateKey), "passphrase": inFile(t, j.Passphrase), "host_key": j.HostKey}
	for name, c := range map[string]struct {
		config map[string]any
		hints  []string // that of the check itself is for a machine that is so busy that its patience ends first
	}{
		"ssh":      {map[string]any{"host": "127.0.0.1", "port": 1, "database": "shop", "user": "nobody", "ssh": ssh}, []string{"ssh.port", "host, port"}},
		"postgres": {map[string]any{"host": "127.0.0.1", "port": port, "database": "shop", "user": "nobody"}, []string{"host, port"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := failed(checkWarehouse(t, "postgres", c.config))
			if len(found) != 1 || !strings.HasPrefix(found[0], "connect: ") {
				t.Fatalf("got %q", found)
			}
			for _, hint := range c.hints {
				if strings.Contains(found[0], hint) {
					return
				}
			}
			t.Errorf("got %q", found)
		})
	}
}

// TestCheckWantsTLS: a server that takes encrypted connections only says so in words about pg_hba.conf; the hint is about tls.
func TestCheckWantsTLS(t *testing.T) {
	t.Parallel()
	_ = pgServer(t) // skips where there is none
	cert, key := pgtest.Authority(t)
	s, err := pgtest.Setup{Cert: cert, Key: key, Password: pgPassword, Encrypted: true}.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.Exec(t, "postgres", "CREATE ROLE loads LOGIN PASSWORD '"+pgPassword+"'")
	s.Exec(t, "postgres", "CREATE DATABASE shop OWNER loads")
	config := map[string]any{"host": s.Host, "port": s.Port, "database": "shop", "user": "loads", "password": inFile(t, pgPassword), "tls": "verify-ca", "root_cert": string(cert)}
	if d := cmp.Diff([]string(nil), failed(checkWarehouse(t, "postgres", config))); d != "" {
		t.Error(d)
	}
	for _, wrong := range []mistake{
		{"no TLS", map[string]any{"tls": "disable"}, "connect", "warehouse.tls", "set tls to verify-full"},
		{"the name is not in the certificate", map[string]any{"tls": "verify-full"}, "connect", "warehouse.tls", "root_cert"},
		{"another authority", map[string]any{"root_cert": nil}, "connect", "warehouse.tls", "root_cert"},
		{"wrong password", map[string]any{"password": wrongSecret}, "connect", "auth.refused", "password"},
		{"no such database", map[string]any{"database": "nowhere"}, "connect", "warehouse.database", "database"},
	} {
		wrong.find(t, "postgres", config)
	}
}
