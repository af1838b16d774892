package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Home is a warehouse that keeps a ledger without being asked for a transaction:
// rows are loaded, queried and deleted there, each by itself.
type Home interface {
	warehouse.Warehouse
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	Dialect() string
}

// Keeps says whether a warehouse of the dialect can be the home of a ledger
// (Options.Home): every one that does not Speak.
func Keeps(dialect string) bool {
	_, ok := sqltext.Find(dialect)
	return ok && !Speaks(dialect)
}

// home is the ledger as a warehouse without cheap transactions keeps it.
//
// What a run intends and what became of it is written often and in transactions,
// so runs work on a desk: a whole ledger in a database of the hub. When a run has ended,
// the keys that it touched are published. A publication is rows that carry its number,
// and a row of __manifest, loaded last, that makes them visible all at once:
//
//	NAME__manifest  one row per publication: number, checksum of the ledger with it, what the fence holds
//	NAME__state     per publication and touched key: ledger, record and attempt as they then were, or that it is gone
//	NAME__log       per publication: results of the runs that ended
//	NAME__runs      per publication: those runs
//
// A row counts when its number is in the manifest and no less than the last one's base;
// of the rows of one key the newest counts. A whole publication has every key and is its own base; what is
// older is then deleted. A publication that was cut short is never seen, and its
// keys are part of the next one.
//
//	                Finish                    publish                 confirm
//	desk: (keys touched) ──▶ touched, free ──▶ tagged with a number ──▶ forgotten
//	                              ▲                │ the manifest lacks it
//	                              └────────────────┘
//
// A hub that lost its desk, or finds a newer publication than its own, takes the
// ledger over from here (hydrate).
type home struct {
	wh Home
	d  sqltext.Dialect
	n  names
	s  statements // for naming tables in d; it has no engine
	// integer and texts are what the types of ints and texts are called.
	integer, texts sqltext.Text
	// most is how many publications may stand on one base.
	most int64
}

func homeOf(wh Home, workspace, sync string) (*home, error) {
	if wh == nil {
		return nil, nil //nolint:nilnil // a ledger may have none
	}
	d, ok := sqltext.Find(wh.Dialect())
	if !ok {
		return nil, fmt.Errorf("no dialect is called %q", wh.Dialect())
	}
	if !Keeps(d.Name()) {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "ledger.placement", Subject: "sync " + sync, Message: fmt.Sprintf("a ledger cannot be published to a warehouse of the kind %s", d.Name()),
			Hint: "set ledger.placement: local on the sync",
		}
	}
	n := namesOf(d, workspace, sync)
	if err := d.Check(n.of("manifest").Name); err != nil {
		return nil, err
	}
	integer, err := d.Type(tidegate.Type{Kind: tidegate.Int})
	if err != nil {
		return nil, err
	}
	texts, err := d.Type(tidegate.Type{Kind: tidegate.String})
	if err != nil {
		return nil, err
	}
	return &home{wh: wh, d: d, n: n, integer: integer, texts: texts, s: statements{d: d, n: n}, most: publications}, nil
}

const (
	recordPrefix  = "r_"
	attemptPrefix = "a_"
)

// prefixed are the columns of a table of the ledger beside those of the key.
func prefixed(prefix string, s tidegate.Schema) tidegate.Schema {
	var out tidegate.Schema
	for _, c := range s[len(keyColumns()):] {
		c.Name = prefix + c.Name
		out = append(out, c)
	}
	return out
}

func homeStateSchema() tidegate.Schema {
	return joined(ints("v"), keyColumns(), bools("gone"), ints("fingerprint"), bools("acked", "recorded"), prefixed(recordPrefix, recordsSchema()), prefixed(attemptPrefix, attemptsSchema()))
}

func homeLogSchema() tidegate.Schema  { return joined(ints("v"), logSchema()) }
func homeRunsSchema() tidegate.Schema { return joined(ints("v"), runsSchema()) }

// sumColumns are the checksum of a ledger, in the order of home.sums.
func sumColumns() []string {
	return []string{"keys", "acked", "key_xor", "fingerprint_xor", "fingerprint_sum", "confirmed", "record_xor"}
}

// carried are the columns of the fence that a manifest carries beside the checksum.
func carried() []string { return []string{"format", "epoch", "generation", "last_read"} }

func manifestSchema() tidegate.Schema {
	return joined(ints("v", "base"), texts("workspace", "sync", "payloads", "target"), ints(carried()...), ints(sumColumns()...), times("published_at"))
}

// homeTables are the tables of one sync.
func homeTables() map[string]tidegate.Schema {
	return map[string]tidegate.Schema{"manifest": manifestSchema(), "state": homeStateSchema(), "log": homeLogSchema(), "runs": homeRunsSchema()}
}

// registryTable lists the syncs that are published to a warehouse.
const registryTable = "published"

func publishedSchema() tidegate.Schema {
	return texts("workspace", "sync", "manifest_table", "state_table", "log_table", "runs_table")
}

// head is the newest publication.
type head struct {
	v, base                             int64
	format, epoch, generation, lastRead int64
	sums                                [7]int64
	target                              string // of whom the ledger knows what was confirmed
}

// head reads it; none is the zero head, also where there are no tables.
func (h *home) head(ctx context.Context) (head, error) {
	var newest head
	has, err := h.wh.Describe(ctx, h.n.of("manifest"))
	if errors.Is(err, warehouse.ErrNoTable) {
		return newest, nil
	} else if err != nil {
		return newest, fmt.Errorf("looking for %s: %w", h.n.of("manifest"), err)
	}
	if has.Index("target") < 0 { // made before targets were published
		if _, err := h.wh.Ensure(ctx, h.n.of("manifest"), manifestSchema()); err != nil {
			return newest, fmt.Errorf("adding a column to %s: %w", h.n.of("manifest"), err)
		}
	}
	into := []any{&newest.v, &newest.base, &newest.format, &newest.epoch, &newest.generation, &newest.lastRead}
	columns := sqltext.Text("v, base")
	for _, name := range carried() {
		columns += ", " + sqltext.Text(name)
	}
	for i, name := range sumColumns() {
		columns += ", " + sqltext.Text(name)
		into = append(into, &newest.sums[i])
	}
	into = append(into, &newest.target)
	err = h.one(ctx, string("SELECT "+columns+", target FROM "+h.s.of("manifest")+" ORDER BY v DESC LIMIT 1"), nil, into...)
	if errors.Is(err, errNoRow) {
		return head{}, nil
	}
	if err != nil {
		return head{}, fmt.Errorf("reading %s: %w", h.n.of("manifest"), err)
	}
	return newest, nil
}

// visible says which rows of a table count.
func (h *home) visible(manifest sqltext.Text) sqltext.Text {
	return "v IN (SELECT v FROM " + manifest + " WHERE v >= (SELECT max(base) FROM " + manifest + "))"
}

// current is the newest visible row per key.
func (h *home) current(state, manifest sqltext.Text, columns []string) sqltext.Text {
	list := make([]sqltext.Text, len(columns))
	for i, name := range columns {
		list[i] = "s." + sqltext.Text(name) + " AS " + sqltext.Text(name)
	}
	return "SELECT " + sqltext.Join(list, ", ") + " FROM " + state + " AS s JOIN (SELECT key_hash, key_check, max(v) AS latest FROM " + state + " WHERE " + h.visible(manifest) +
		" GROUP BY key_hash, key_check) AS x ON x.key_hash = s.key_hash AND x.key_check = s.key_check AND x.latest = s.v"
}

func (h *home) latest(columns ...string) sqltext.Text {
	return h.current(h.s.of("state"), h.s.of("manifest"), columns)
}

// sums is the checksum of what is visible, in the order of sumColumns. Other aliases than
// the columns' names: engines differ in which of the two a word means.
func (h *home) sums() sqltext.Text {
	confirmed := sqltext.Text("CASE WHEN t.acked THEN t.fingerprint END")
	hash := h.d.Hash()
	return "SELECT count(*), " + h.whole("sum(CASE WHEN t.acked THEN 1 ELSE 0 END)") + ", " + h.whole(hash.Xor("t.key_hash")) + ", " + h.whole(hash.Xor(confirmed)) + ", " + h.whole("sum("+hash.Low(confirmed)+")") +
		", " + h.whole("sum(CASE WHEN t.recorded THEN 1 ELSE 0 END)") + ", " + h.whole(hash.Xor("CASE WHEN t.recorded THEN t.key_hash END")) +
		" FROM (" + h.latest("key_hash", "fingerprint", "acked", "recorded", "gone") + ") AS t WHERE NOT t.gone"
}

// whole is an aggregate as an int, which it is not in every engine; none is 0.
func (h *home) whole(x sqltext.Text) sqltext.Text {
	return "CAST(coalesce(" + x + ", 0) AS " + h.integer + ")"
}

// intact says whether what is visible adds up to the checksum.
func (h *home) intact(ctx context.Context, want [7]int64) (bool, error) {
	var is [7]int64
	into := make([]any, len(is))
	for i := range is {
		into[i] = &is[i]
	}
	if err := h.one(ctx, string(h.sums()), nil, into...); err != nil {
		return false, fmt.Errorf("summing the published ledger up: %w", err)
	}
	return is == want, nil
}

func (h *home) one(ctx context.Context, sql string, args []any, into ...any) error {
	found := false
	err := warehouse.Each(ctx, h.wh, sql, args, func(row tidegate.Row) error {
		if found {
			return nil
		}
		found = true
		return scan(row, into...)
	})
	if err == nil && !found {
		return errNoRow
	}
	return err
}
