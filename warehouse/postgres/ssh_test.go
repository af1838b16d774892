package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// startJump returns a server and a configuration that goes through it.
func startJump(t *testing.T) (*pgtest.Jump, postgres.SSH) {
	t.Helper()
	j := pgtest.StartJump(t)
	return j, postgres.SSH{Host: j.Host, Port: j.Port, User: j.User, PrivateKey: secret.New(j.PrivateKey), Passphrase: secret.New(j.Passphrase), HostKey: j.HostKey}
}

// TestSSHTunnel: everything goes through the tunnel, cancels too, and a tunnel
// that breaks is made again.
func TestSSHTunnel(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	j, tunnel := startJump(t)
	cfg.SSH = &tunnel
	w := open(t, cfg)
	defer w.Close()
	if got := warehousetest.Rows(t, w, "SELECT count(*) FROM generate_series(1, 100000)"); got[0][0] != int64(100_000) || j.Forwarded() == 0 {
		t.Errorf("got %v over %d connections of the tunnel", got, j.Forwarded())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := w.Query(ctx, "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b")
	if err == nil {
		_, err = r.Next(ctx)
		_ = r.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	j.HangUp()
	for { // the connections of the pool that died are found out one by one
		r, err := w.Query(t.Context(), "SELECT 1")
		if err == nil {
			_ = r.Close()
			break
		}
		if f := tidegate.FaultOf(err); f.Action != tidegate.Retry {
			t.Fatal(err)
		}
	}
}

func TestSSHTunnelRefused(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	_, tunnel := startJump(t)
	stranger := pgtest.StartJump(t)
	for _, c := range []struct {
		name   string
		change func(*postgres.SSH)
		code   string
		action tidegate.Action
	}{
		{"another host key", func(s *postgres.SSH) { s.HostKey = stranger.HostKey }, "warehouse.ssh_host_key", tidegate.Halt},
		{"another user key", func(s *postgres.SSH) { s.PrivateKey = secret.New(stranger.PrivateKey) }, "auth.refused", tidegate.Halt},
		{"another user", func(s *postgres.SSH) { s.User = "root" }, "auth.refused", tidegate.Halt},
		{"another passphrase", func(s *postgres.SSH) { s.Passphrase = secret.New("wrong") }, "warehouse.config", tidegate.Halt},
		{"another kind of host key", func(s *postgres.SSH) {
			s.HostKey = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGoNSFk4loLu27/ZP9tI/PMaO4Q7opW19TMulBeUxWRCU4aVHP02v6ljWNw4yhlmmTvlkanW00tlU3pg6w2mwkg="
		}, "warehouse.ssh_host_key", tidegate.Halt},
		{"nobody listens", func(s *postgres.SSH) { s.Port = 1 }, "warehouse.ssh", tidegate.Retry},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, s := cfg, tunnel
			c.change(&s)
			cfg.SSH = &s
			w, err := postgres.Open(t.Context(), cfg, env())
			if err == nil {
				_ = w.Close()
			}
			fault(t, err, c.action, c.code, "")
		})
	}
}
