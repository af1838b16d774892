package loadertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/replay"
	"github.com/tidegate/tidegate/warehouse"
)

// shadow is the schema that Shadow fills.
const shadow = "try_it"

// Shadow loads events, of which some are others than in web and some are left out, into a schema beside
// web, as a replay does, and returns what a replay then says of the two; of the sample only which
// rows and columns it has, for each engine writes values in its own way.
func Shadow(t testing.TB, w loader.Warehouse, events []string) []replay.TableDiff {
	t.Helper()
	var others []string
	for i, e := range events {
		switch i % 10 {
		case 3:
			continue
		case 5:
			e = strings.Replace(e, `"os":{"name":"x"}`, `"os":{"name":"y"}`, 1)
		case 7:
			e = strings.Replace(e, `"messageId":"m`, `"messageId":"n`, 1)
		}
		others = append(others, e)
	}
	lister, ok := w.(warehouse.Lister)
	if !ok {
		t.Fatal("the warehouse lists no tables")
	}
	tables, err := lister.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables { // of the same types, but for users: each engine writes a float as a text in its own way
		if table.Schema != "web" || strings.HasPrefix(table.Name, "tidegate_") || table.Name == shape.UsersTable {
			continue
		}
		columns, err := w.Describe(t.Context(), table)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Ensure(t.Context(), warehouse.Table{Schema: shadow, Name: table.Name}, columns); err != nil {
			t.Fatal(err)
		}
	}
	tp := &Tape{grown: make(chan struct{}), source: shadow}
	for part := range slices.Chunk(others, 10) {
		tp.Add(part...)
	}
	load(t, tp, w, 350, shadow)
	diffs, err := replay.Compare(t.Context(), w, "web", shadow, replay.Range{To: tidegate.Offset{Position: int64(len(events))}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if len(diffs) == 0 {
		t.Error("nothing is compared")
	}
	for _, d := range diffs {
		for i := range d.Sample {
			for column := range d.Sample[i].Fields {
				d.Sample[i].Fields[column] = [2]string{}
			}
		}
	}
	return diffs
}
