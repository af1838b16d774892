package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
)

// lendingMutant is a mutant whose transactions lend predicates; those of others do not,
// so that the engine compares.
type lendingMutant struct{ *mutant }

func (m lendingMutant) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := m.mutant.Begin(ctx)
	if err != nil {
		return nil, err
	}
	changed := tx.(*mutantTx)
	return &lendingTx{mutantTx: changed, lender: changed.Tx.(warehouse.PredicateTx)}, nil
}

type lendingTx struct {
	*mutantTx
	lender warehouse.PredicateTx
}

func (t *lendingTx) Predicate(test func(values []int64, answers []bool), pure bool) (call func(x string) string, drop func()) {
	return t.lender.Predicate(test, pure)
}

func (t *lendingTx) Memory() int64 { return t.lender.Memory() }

// sharingMutant is a mutant whose transactions share their snapshots; those of others do not.
type sharingMutant struct{ *mutant }

func (m sharingMutant) Begin(ctx context.Context) (warehouse.Tx, error) {
	tx, err := m.mutant.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &sharingTx{tx.(*mutantTx)}, nil
}

type sharingTx struct{ *mutantTx }

func (t *sharingTx) Beside(ctx context.Context) (warehouse.Tx, error) {
	tx, err := t.Tx.(warehouse.SnapshotTx).Beside(ctx)
	if err != nil {
		return nil, err
	}
	return &mutantTx{Tx: tx, m: t.m}, nil
}

// pairsAsJoined plays a history in two worlds, one of which pairs fingerprints in the program and the
// other in the engine, and holds each plan of the one to that of the other.
func pairsAsJoined(tb testing.TB, place string, seed uint64, rounds int, plant func(engineUnderTest) warehouse.Execer) {
	tb.Helper()
	const keys = 2000
	r := rand.New(rand.NewPCG(seed, 7))
	pairing, joining := newWorldAt(tb, place), newWorldAt(tb, place)
	pairing.store = plant(pairing.store.(engineUnderTest))
	joining.store = &mutant{Execer: joining.store, old: "\x00", fired: new(bool)}
	both := []*world{pairing, joining}
	for _, w := range both {
		w.open()
	}
	exec := func(sql string) {
		for _, w := range both {
			w.exec(sql)
		}
	}
	exec(fmt.Sprintf("CREATE TABLE people AS SELECT i AS id, 'user' || i || '@x.io' AS email, CAST(i %% 90 AS INTEGER) AS age FROM generate_series(0::bigint, %d) AS t(i)", keys-1))
	for _, w := range both {
		w.run()
	}
	salt := uint32(seed)
	answer := func(p Planned) *Result {
		h := salt
		for _, b := range []byte(p.Key) {
			h = h*31 + uint32(b)
		}
		switch h % 11 {
		case 0:
			return nil
		case 1:
			return outcome(destinations.Rejected, time.Time{})(p)
		case 2:
			return outcome(destinations.Deferred, time.Date(2026, 1, 1, 0, 2, 0, 0, time.UTC))(p)
		}
		return delivered(p)
	}
	for round := range rounds {
		for range 1 + r.IntN(2) {
			from := r.IntN(keys)
			few := fmt.Sprintf(" WHERE id BETWEEN %d AND %d", from, from+r.IntN(12))
			kinds := 7
			if round < 3 {
				kinds = 4 // no twins yet, which it is the engine that finds
			}
			switch r.IntN(kinds) {
			case 0:
				exec("DELETE FROM people" + few)
			case 1:
				exec("INSERT INTO people SELECT id + 5000, 'n' || email, age FROM people" + few + " AND id + 5000 NOT IN (SELECT id FROM people WHERE id IS NOT NULL)")
			case 4:
				exec("INSERT INTO people SELECT * FROM people" + few) // twins, equal in all
			case 5:
				exec("INSERT INTO people SELECT id, email, age + 1 FROM people" + few)
			case 2:
				exec("INSERT INTO people VALUES (NULL, 'nobody@x.io', 1), (NULL, 'nobody@x.io', 1)")
			case 6:
				exec("CREATE TABLE kept AS SELECT DISTINCT ON (id) * FROM people WHERE id IS NOT NULL ORDER BY id, email, age")
				exec("DROP TABLE people")
				exec("ALTER TABLE kept RENAME TO people")
			default:
				exec("UPDATE people SET age = age + 1" + few)
			}
		}
		if round == rounds-2 {
			exec("UPDATE people SET age = age + 1") // too many to be paired
		}
		a, sa := pairing.plan()
		b, sb := joining.plan()
		if d := cmp.Diff(sb, sa); d != "" {
			tb.Fatalf("round %d: the summary (-joined +paired):\n%s", round, d)
		}
		ignored, sorted := cmpopts.IgnoreFields(Planned{}, "Ordinal"), cmpopts.SortSlices(func(a, b Planned) bool { return a.Key < b.Key })
		if d := cmp.Diff(joining.changes(b), pairing.changes(a), cmpopts.EquateEmpty(), ignored, sorted); d != "" {
			tb.Fatalf("round %d: the changes (-joined +paired):\n%s", round, d)
		}
		salt += uint32(r.IntN(3))
		for _, w := range both {
			w.deliver(a, answer)
			w.finish(a)
		}
		if d := cmp.Diff(joining.size(), pairing.size()); d != "" {
			tb.Fatalf("round %d: what the ledger holds (-joined +paired):\n%s", round, d)
		}
		if d := cmp.Diff(joining.held, pairing.held); d != "" {
			tb.Fatalf("round %d: the destination (-joined +paired):\n%s", round, d)
		}
	}
}

func (w *world) size() Size {
	w.t.Helper()
	size, err := w.l.Size(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return size
}

func TestPairsAsJoined(t *testing.T) {
	t.Parallel()
	for _, place := range []string{inDuckDB, inLocal} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s/%d", place, seed), func(t *testing.T) {
				t.Parallel()
				paired, picked := false, false
				pairsAsJoined(t, place, seed, 8, func(store engineUnderTest) warehouse.Execer {
					spy := &mutant{Execer: store, old: pairedMark, new: pairedMark, fired: &paired}
					return lendingMutant{&mutant{Execer: lendingMutant{spy}, old: pickedMark, new: pickedMark, fired: &picked}}
				})
				if !paired || !picked {
					t.Errorf("paired: %t, records picked out: %t", paired, picked)
				}
			})
		}
	}
}

// TestBroughtPairsAsJoined is TestPairsAsJoined where the engine is a server.
func TestBroughtPairsAsJoined(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			found := false
			pairsAsJoined(t, inPostgres, seed, 8, func(store engineUnderTest) warehouse.Execer {
				return sharingMutant{&mutant{Execer: store, old: foundMark, new: foundMark, fired: &found}}
			})
			if !found {
				t.Error("nothing was brought")
			}
		})
	}
}

// What the statements of pairing hold and no other does.
const (
	foundMark  = "(SELECT DISTINCT ON (h, k) *"
	pairedMark = "UNION ALL BY NAME"
	pickedMark = `(SELECT * FROM "_tidegate"."crm__records" WHERE tidegate_among(`
)

// standsAlone: with changes of every kind, but without twins, the engine does not compare.
func standsAlone(tb testing.TB, plant func(engineUnderTest) warehouse.Execer) {
	tb.Helper()
	w := newWorld(tb)
	joined := false
	w.store = lendingMutant{&mutant{Execer: plant(w.wh), old: "FULL JOIN", new: "FULL JOIN", fired: &joined}}
	comparesAlone(tb, w, &joined)
}

// comparesAlone plays what standsAlone is about; joined is set when the engine compares.
func comparesAlone(tb testing.TB, w *world, joined *bool) {
	tb.Helper()
	w.open()
	w.exec("CREATE TABLE people AS SELECT i AS id, 'user' || i || '@x.io' AS email, 1 AS age FROM generate_series(0::bigint, 199) AS t(i)")
	w.run()
	*joined = false
	w.exec("UPDATE people SET age = 2 WHERE id IN (3, 4)")
	id, _ := w.plan()
	w.deliver(id, outcome(destinations.Rejected, time.Time{}))
	w.finish(id)
	w.exec("UPDATE people SET age = 3 WHERE id IN (4, 7)")
	w.exec("DELETE FROM people WHERE id IN (3, 9)")
	w.exec("INSERT INTO people VALUES (900, 'new@x.io', 1), (NULL, 'nobody@x.io', 1)")
	if s := w.run(); s.Added != 1 || s.Changed != 2 || s.Removed != 2 || s.BadKeys != 1 || s.Read != 200 {
		tb.Fatalf("%+v", s)
	}
	if s := w.run(); s.Added+s.Changed+s.Removed != 0 || *joined {
		tb.Fatalf("the engine compared: %t; %+v", *joined, s)
	}
}

func TestPairingStandsAlone(t *testing.T) {
	t.Parallel()
	standsAlone(t, func(store engineUnderTest) warehouse.Execer {
		return lendingMutant{&mutant{Execer: store, old: "\x00", fired: new(bool)}}
	})
}

// TestPlantedBugsOfPairing: each of these must be seen, if only by that the counts do not
// come out and the engine compares after all.
func TestPlantedBugsOfPairing(t *testing.T) {
	t.Parallel()
	for _, bug := range []struct{ name, old, new string }{
		{"removed keys are not looked for", `"_tidegate"."crm__ledger" WHERE acked AND`, `"_tidegate"."crm__ledger" WHERE false AND acked AND`},
		{"failed keys are not looked for", `"_tidegate"."crm__ledger" WHERE NOT acked`, `"_tidegate"."crm__ledger" WHERE false`},
		{"failed keys pair", "CASE WHEN acked THEN fingerprint END", "fingerprint"},
		{"what is added is not read", "AS m WHERE tidegate_among(", "AS m WHERE false AND tidegate_among("},
		{"records are not picked out", pickedMark, strings.Replace(pickedMark, "WHERE", "WHERE NOT", 1)},
		{"touched keys are not picked out", `key_check AND tidegate_among(`, `key_check AND NOT tidegate_among(`},
	} {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			fired := false
			dead := killed(t, func(tb testing.TB) {
				standsAlone(tb, func(store engineUnderTest) warehouse.Execer {
					return lendingMutant{&mutant{Execer: store, old: bug.old, new: bug.new, fired: &fired}}
				})
			})
			if !dead || !fired {
				t.Errorf("the bug survived: %t; it was there: %t", !dead, fired)
			}
		})
	}
}
