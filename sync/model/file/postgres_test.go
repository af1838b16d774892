package file

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestOnPostgres holds everything that a model can say to another engine: files,
// parameters of every type, models in models, lookups, marks and parts.
func TestOnPostgres(t *testing.T) {
	t.Parallel()
	var shared pgtest.Shared
	server := shared.Get(t, warehousetest.Missing)
	t.Cleanup(shared.Stop)
	wh, err := postgres.Open(t.Context(), postgres.Config{Host: server.Host, Port: server.Port, Database: server.Database(t), User: pgtest.Superuser, MaxConnections: 4}, warehouse.Env{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wh.Close() })
	l := New(wh, fstest.MapFS{
		"people.csv":    {Data: []byte("id,name,plan_id,amount,born,changed,vip\n1,Ada,10,12.50,1815-12-10,2024-01-01T10:00:00Z,true\n2,Bob,11,3,1990-01-01,2024-02-01T10:00:00Z,false\n3,Cy,12,,,,\n")},
		"plans.ndjson":  {Data: []byte(`{"id":10,"title":"Gold","tags":["a"]}` + "\n" + `{"id":12,"title":"Tin"}` + "\n" + `{"id":12,"title":"Lead"}` + "\n")},
		"types.parquet": {Data: parquetFile(t)},
	}, clock(), nil)
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	c := model.Catalog{File: l.Table, Models: map[string]tidegate.Model{}}
	for _, def := range []tidegate.Model{
		{Name: "people", File: "people.csv"},
		{Name: "plans", File: "plans.ndjson"},
		{Name: "types", File: "types.parquet"},
		{
			Name: "chosen", Uses: []string{"people"}, Incremental: "changed",
			SQL:    "SELECT id, name, plan_id, changed, {{ n }} AS n, {{ f }} AS f, {{ b }} AS b, {{ s }} AS s FROM people WHERE (born >= {{ since }} OR born IS NULL) AND (amount > {{ least }} OR amount IS NULL)",
			Params: map[string]json.RawMessage{"n": raw("7"), "f": raw("0.5"), "b": raw("true"), "s": raw(`"it's"`), "since": raw(`"1800-01-01"`), "least": raw("3.5")},
		},
	} {
		def.PrimaryKey = []string{"id"}
		c.Models[def.Name] = def
	}
	title := tidegate.Lookup{Model: "plans", Key: "plan_id", Column: "title"}
	m, err := c.Compile(t.Context(), wh, "chosen", model.Join{Path: "x", Lookup: title})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`[1,"Ada",10,"2024-01-01T10:00:00.000000Z",7,0.5,true,"it's","Gold"]`, `[3,"Cy",12,null,7,0.5,true,"it's",null]`}, rowsOf(t, wh, m)); d != "" {
		t.Error(d)
	}
	mark, err := m.Mark(t.Context(), wh)
	if err != nil || mark != `"2024-01-01T10:00:00.000000Z"` {
		t.Error(mark, err)
	}
	part, err := m.Since(wh, `"2024-06-01T00:00:00.000000Z"`)
	if err != nil {
		t.Fatal(err)
	}
	if got := rowsOf(t, wh, part); len(got) != 1 {
		t.Error(got)
	}
	preview, err := m.Preview(t.Context(), wh, 1)
	if err != nil || preview.Count != 2 || len(preview.Rows) != 1 {
		t.Errorf("%+v, %v", preview, err)
	}
	types, err := c.Compile(t.Context(), wh, "types")
	if err != nil {
		t.Fatal(err)
	}
	if got := rowsOf(t, wh, types); len(got) != 2 {
		t.Error(got)
	}
}

func rowsOf(t *testing.T, wh warehouse.Warehouse, m *model.Model) (all []string) {
	t.Helper()
	rows, err := wh.Query(t.Context(), "SELECT * FROM (\n"+m.SQL+"\n) AS q ORDER BY 1", m.Args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for {
		row, err := rows.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := model.KeyOf(row)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
}
