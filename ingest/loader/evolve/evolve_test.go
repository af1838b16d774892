package evolve_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/loadertest"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func duck(tb testing.TB) evolve.Warehouse {
	tb.Helper()
	w, err := duckdb.Open(tb.Context(), duckdb.Options{Path: filepath.Join(tb.TempDir(), "w.duckdb"), MemoryLimit: "1GB", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

func TestWidens(t *testing.T) {
	t.Parallel()
	loadertest.Widens(t, duck)
}

// TestWhatCannotBeWidened: requests that would lose something, or name nothing, are refused.
func TestWhatCannotBeWidened(t *testing.T) {
	t.Parallel()
	wh, tp := duck(t), loadertest.NewTape(nil, 1)
	l := loadertest.Start(t, tp, wh, nil)
	loadertest.Wait(t, l, tp.Add(`{"type":"track","event":"E","messageId":"m0","userId":"u","properties":{"n":9007199254740993,"s":"x"}}`))
	for _, c := range []struct {
		table, column string
		to            tidegate.Kind
		code          string
	}{
		{"e", "s", tidegate.Int, "warehouse.narrows"},
		{"e", "n", tidegate.Float, "schema.rounds"},
		{"e", "received_at", tidegate.String, "schema.own_column"},
		{"e", "none", tidegate.String, "column.not_found"},
		{"none", "s", tidegate.String, "table.not_found"},
	} {
		_, err := evolve.Log{Schema: loader.BooksSchema}.Widen(t.Context(), wh, evolve.Request{Table: warehouse.Table{Schema: "web", Name: c.table}, Column: c.column, To: tidegate.Type{Kind: c.to}, At: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)})
		if f := tidegate.FaultOf(err); f == nil || f.Code != c.code {
			t.Errorf("%s.%s to %s: %v, want %s", c.table, c.column, c.to, err, c.code)
		}
	}
	plan, err := (evolve.Log{Schema: loader.BooksSchema}).Plan(t.Context(), wh, evolve.Request{Table: warehouse.Table{Schema: "web", Name: "e"}, Column: "n", To: tidegate.Type{Kind: tidegate.JSON}})
	if want := (evolve.WidenResult{Schema: "web", Table: "e", Column: "n", OldType: "int", NewType: "json"}); err != nil || plan != want {
		t.Errorf("%+v, %v", plan, err)
	}
	// Nothing was ever set aside of this source: no table says so, and no type is proposed.
	plan, err = (evolve.Log{Schema: loader.BooksSchema}).Plan(t.Context(), wh, evolve.Request{Table: warehouse.Table{Schema: "web", Name: "e"}, Column: "s"})
	if want := (evolve.WidenResult{Schema: "web", Table: "e", Column: "s", OldType: "string", NewType: "string"}); err != nil || plan != want {
		t.Errorf("%+v, %v", plan, err)
	}
}
