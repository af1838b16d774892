package ledger

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

// TestSizesCountsWithoutOpening: ledgers are counted together, as many as there are, and those that
// nobody made are not made by it.
func TestSizesCountsWithoutOpening(t *testing.T) {
	t.Parallel()
	for _, place := range []string{inDuckDB, inPostgres} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			db, ok := w.store.(engineUnderTest)
			if !ok {
				t.Fatalf("%T cannot describe tables", w.store)
			}
			w.exec("CREATE TABLE people (id BIGINT, email VARCHAR, age BIGINT)")
			w.exec("INSERT INTO people VALUES (1, 'a@x.io', 10), (2, 'b@x.io', 20)")
			want(t, w.run(), Summary{Read: 2, Added: 2})
			asked := []string{w.name, "never"}
			wanted := map[string]Size{w.name: {Confirmed: 2}}
			for i := range sizesAtOnce + 1 {
				name := fmt.Sprintf("other_%d", i)
				if asked = append(asked, name); i%sizesAtOnce == 0 { // one for each statement
					if _, err := Open(w.ctx, w.store, tidegate.DefaultWorkspace, name, Options{Now: w.clock}); err != nil {
						t.Fatal(err)
					}
					wanted[name] = Size{}
				}
			}
			have, err := Sizes(w.ctx, db, tidegate.DefaultWorkspace, asked)
			if err != nil || !maps.Equal(have, wanted) {
				t.Errorf("%v, %v; want %v", have, err, wanted)
			}
			if there, err := Exists(w.ctx, db, tidegate.DefaultWorkspace, "never"); err != nil || there {
				t.Errorf("counting made a ledger: %v", err)
			}
		})
	}
}

// TestSizesOfNothing: a database without any ledger is no error.
func TestSizesOfNothing(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	wh, err := duckdb.Open(w.ctx, duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := wh.Close(); err != nil {
			t.Error(err)
		}
	}()
	have, err := Sizes(w.ctx, wh, tidegate.DefaultWorkspace, []string{"crm"})
	if err != nil || len(have) != 0 {
		t.Error(have, err)
	}
}
