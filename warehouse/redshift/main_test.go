package redshift_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

var shared pgtest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// config is a warehouse in an empty database of the double.
func config(tb testing.TB) (redshift.Config, *rstest.Cluster) {
	tb.Helper()
	c := rstest.New(tb, shared.Get(tb, warehousetest.Missing))
	return redshift.Config{
		Host: c.Host, Port: c.Port, Database: c.Database, User: c.User, TLS: "disable", MaxConnections: 10,
		Bucket: rstest.Bucket, Region: rstest.Region, AccessKeyID: rstest.AccessKey, SecretAccessKey: secret.New(rstest.SecretKey), IAMRole: rstest.Role, Endpoint: c.S3.URL,
	}, c
}

func env() warehouse.Env {
	return warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

func open(tb testing.TB, cfg redshift.Config) *redshift.Warehouse {
	tb.Helper()
	w, err := redshift.Open(tb.Context(), cfg, env())
	if err != nil {
		tb.Fatal(err)
	}
	return w.(*redshift.Warehouse)
}
