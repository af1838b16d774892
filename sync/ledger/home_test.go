package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/clickhouse/chdbtest"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// The placements of a ledger that is published.
const (
	inClickHouse = "published to ClickHouse"
	inBigQuery   = "published to BigQuery"
	inRedshift   = "published to Redshift"
	inSnowflake  = "published to Snowflake"
)

func homes() []string { return []string{inClickHouse, inBigQuery, inRedshift, inSnowflake} }

// someHome is for what does not depend on the home's engine; all of them with TIDEGATE_LONG.
func someHome() []string {
	if schedules(1) > 1 {
		return homes()
	}
	return []string{inBigQuery}
}

// rounds is how many results of a model a random schedule has.
func rounds(place string) int {
	if few(place, 2) == 1 && schedules(1) == 1 {
		return 3
	}
	return 6
}

// few is n where a schedule costs little.
func few(place string, n int) int {
	if slices.Contains(homes(), place) {
		return 1
	}
	return n
}

// openHome opens the warehouse of a place.
func openHome(w *world, place string) engineUnderTest {
	w.t.Helper()
	env := warehouse.Env{Log: slog.New(slog.DiscardHandler), Now: w.clock}
	var wh warehouse.Warehouse
	var err error
	switch place {
	case inClickHouse:
		s := chdbtest.Get(w.t, warehousetest.Missing)
		wh, err = clickhouse.Open(w.ctx, clickhouse.Config{Host: s.Host, Port: s.Port, User: chdbtest.User, Password: secret.New(chdbtest.Password)}, env)
	case inRedshift:
		c := rstest.New(w.t, shared.Get(w.t, warehousetest.Missing))
		wh, err = redshift.Open(w.ctx, redshift.Config{
			Host: c.Host, Port: c.Port, Database: c.Database, User: c.User, TLS: "disable",
			Bucket: rstest.Bucket, Region: rstest.Region, AccessKeyID: rstest.AccessKey, SecretAccessKey: secret.New(rstest.SecretKey), IAMRole: rstest.Role, Endpoint: c.S3.URL,
		}, env)
	case inSnowflake:
		env.Dir = w.t.TempDir()
		wh, err = snowflake.Open(w.ctx, snowflake.Config{
			Account: "acme-test", User: sftest.User, Password: secret.New(sftest.Password), Database: "analytics", Warehouse: "compute", Role: "loader", Endpoint: sftest.New(w.t).URL,
		}, env)
	default:
		double := bqtest.New(w.t)
		wh, err = bigquery.Open(w.ctx, bigquery.Config{Project: bqtest.Project, Endpoint: double.URL, StorageEndpoint: double.WriteURL}, env)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := wh.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return wh.(engineUnderTest)
}

// table makes a table of the model's warehouse hold rows and nothing else.
func (w *world) table(name string, schema tidegate.Schema, rows ...tidegate.Row) {
	w.t.Helper()
	d, _ := sqltext.Find(w.wh.Dialect())
	t := warehouse.Table{Schema: d.DefaultSchema(), Name: name}
	if _, err := w.wh.Ensure(w.ctx, t, schema); err != nil {
		w.t.Fatal(err)
	}
	quoted, err := d.Table(t.Schema, t.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec(string("DELETE FROM " + quoted + " WHERE true"))
	w.loads++
	if _, err := w.wh.Load(w.ctx, warehouse.Load{ID: fmt.Sprint("fill", w.loads), Table: t}, tidegate.Rows(schema, rows...)); err != nil {
		w.t.Fatal(err)
	}
}

func peopleSchema() tidegate.Schema {
	return tidegate.Schema{column("id", tidegate.Int), column("email", tidegate.String), column("age", tidegate.Int)}
}

// publishedPeople is a world of three people whose ledger is published.
func publishedPeople(t *testing.T, place string) *world {
	t.Helper()
	w := newWorldAt(t, place)
	w.people(10, 20, 30)
	return w
}

// people sets the ages of the people from 1 on; a negative age is nobody.
func (w *world) people(ages ...int64) {
	w.t.Helper()
	var rows []tidegate.Row
	for i, age := range ages {
		if age >= 0 {
			rows = append(rows, tidegate.Row{int64(i + 1), fmt.Sprintf("%c@x.io", 'a'+i), age})
		}
	}
	w.table("people", peopleSchema(), rows...)
}

// anotherDesk is a hub that has nothing of the ledger but its home.
func (w *world) anotherDesk() {
	w.t.Helper()
	w.beside()
}

// publishedIsDesk proves that the home shows what the desk holds, row by row.
func (w *world) publishedIsDesk() {
	w.t.Helper()
	list := func(query func(sql string, f func(tidegate.Row) error) error, sql string) []string {
		var rows []string
		if err := query(sql, func(row tidegate.Row) error {
			rows = append(rows, fmt.Sprintf("%v", row))
			return nil
		}); err != nil {
			w.t.Fatalf("%s: %v", sql, err)
		}
		slices.Sort(rows)
		return rows
	}
	for kind, schema := range map[string]tidegate.Schema{"ledger": ledgerSchema(), "records": recordsSchema(), "attempts": attemptsSchema(), "log": logSchema()} {
		var columns []sqltext.Text
		for _, c := range schema {
			columns = append(columns, sqltext.Text(c.Name))
		}
		desk := list(func(sql string, f func(tidegate.Row) error) error {
			return w.l.read(w.ctx, func(ctx context.Context, tx warehouse.Tx) error { return warehouse.Each(ctx, tx, sql, nil, f) })
		}, string("SELECT "+sqltext.Join(columns, ", ")+" FROM "+w.l.sql.of(kind)))
		home := list(func(sql string, f func(tidegate.Row) error) error {
			return warehouse.Each(w.ctx, w.l.home.wh, sql, nil, f)
		}, string(w.l.home.fetch(kind)))
		if d := cmp.Diff(desk, home); d != "" {
			w.t.Errorf("%s (-desk +home):\n%s", kind, d)
		}
	}
}

func TestPublishedLedger(t *testing.T) {
	t.Parallel()
	for _, place := range homes() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			w.run()
			w.people(11, -1, 30, 40)
			id, s := w.plan()
			want(t, s, Summary{Read: 3, Unchanged: 1, Added: 1, Changed: 1, Removed: 1, LedgerRows: 3})
			w.deliver(id, func(p Planned) *Result {
				if p.Op == tidegate.Added {
					return outcome(destinations.Rejected, time.Time{})(p)
				}
				return delivered(p)
			})
			w.finish(id)
			w.publishedIsDesk()
			one := func(sql, want string) {
				t.Helper()
				var got string
				if err := warehouse.Each(w.ctx, w.l.home.wh, sql, nil, func(row tidegate.Row) error {
					got += fmt.Sprintf("%v", row)
					return nil
				}); err != nil || got != want {
					t.Errorf("%s: %v, got %s, want %s", sql, err, got, want)
				}
			}
			one("SELECT workspace, sync, state, changes FROM _tidegate.sync_runs ORDER BY started_at", "[default crm finished 3][default crm finished 3]")
			one("SELECT key, op, disposition FROM _tidegate.sync_log WHERE run_id = '"+id+"' ORDER BY key", "[[1] changed delivered][[2] removed delivered][[4] added rejected]")
			one("SELECT key, state, confirmed, attempts FROM _tidegate.sync_snapshot ORDER BY key", `[[1] acked {"age":11,"email":"a@x.io"} <nil>][[3] acked {"age":30,"email":"c@x.io"} <nil>][[4] failed <nil> 1]`)

			// Another hub takes all of it over and has nothing to send.
			w.anotherDesk()
			w.publishedIsDesk()
			list, err := w.l.Rejections(w.ctx, 10)
			if err != nil || len(list) != 1 || list[0].Key != "[4]" {
				t.Fatalf("%v %+v", err, list)
			}
			want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 2})
			if n, err := w.l.RetryNow(w.ctx, ""); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			want(t, w.run(), Summary{Read: 3, Unchanged: 2, Added: 1, Retries: 1, LedgerRows: 2})
			w.publishedIsDesk()

			// A resync empties the published ledger too.
			if err := w.l.Resync(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.anotherDesk()
			want(t, w.run(), Summary{Read: 3, Added: 3})
		})
	}
}

// TestTwoHubs: the hub that comes back finds what another has confirmed meanwhile, and
// gives up what it had planned before.
func TestTwoHubs(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			w.run()
			first := w.store
			w.people(11, 20, 30)
			id, _ := w.plan()
			w.deliver(id, func(Planned) *Result { return nil }) // sent, no answer, and the hub stops
			w.anotherDesk()
			want(t, w.run(), Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
			w.people(12, 20, 30)
			want(t, w.run(), Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
			w.store = first
			w.open()
			want(t, w.run(), Summary{Read: 3, Unchanged: 3, LedgerRows: 3})
			w.publishedIsDesk()
		})
	}
}

// TestPublicationsAreSwept: after so many publications, and when the warehouse lost
// some, the ledger is published whole and what is older goes.
func TestPublicationsAreSwept(t *testing.T) {
	t.Parallel()
	for _, place := range homes() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			count := func(kind string) (n int64) {
				t.Helper()
				if err := w.l.home.one(w.ctx, string("SELECT count(*) FROM "+w.l.home.s.of(kind)), nil, &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			most := int64(0)
			for i := range int64(5) {
				w.people(11+i, 20, 30)
				w.l.home.most = 3
				w.run()
				most = max(most, count("manifest"))
			}
			if most > 3 || count("state") > 5 {
				t.Errorf("%d publications at most, %d rows are left", most, count("state"))
			}
			w.publishedIsDesk()
			state, manifest := w.l.home.s.of("state"), w.l.home.s.of("manifest")
			w.exec(string("DELETE FROM " + manifest + " WHERE v > 0"))
			w.people(99, 20, 30)
			want(t, w.run(), Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
			w.publishedIsDesk()
			w.exec(string("DELETE FROM " + state + " WHERE r_key = '[2]'"))
			w.people(98, 20, 30)
			want(t, w.run(), Summary{Read: 3, Unchanged: 2, Changed: 1, LedgerRows: 3})
		})
	}
}

// TestDamagedHome: a hub without a desk does not take over rows that are not those
// of the last publication.
func TestDamagedHome(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			w.run()
			w.exec(string("DELETE FROM " + w.l.home.s.of("state") + " WHERE r_key = '[2]'"))
			w.store = deskOf(w)
			_, err := Open(w.ctx, w.store, tidegate.DefaultWorkspace, w.name, Options{Now: w.clock, Model: w.wh, Home: w.wh})
			if f := tidegate.FaultOf(err); err == nil || f.Code != "ledger.damaged" || f.Action != tidegate.Halt {
				t.Fatal(err)
			}
		})
	}
}

// TestMoveToAHome: a ledger moves into a home and out of it, and sends nothing again.
func TestMoveToAHome(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			home := w.opts.Home
			w.opts.Home = nil
			w.open()
			w.run() // on the desk alone
			local := w.l
			w.opts.Home = home
			w.open()
			if err := Move(w.ctx, local, w.l); err != nil {
				t.Fatal(err)
			}
			same := Summary{Read: 3, Unchanged: 3, LedgerRows: 3}
			want(t, w.run(), same)
			w.publishedIsDesk()
			published := w.l
			w.opts.Home = nil
			w.open()
			if err := Move(w.ctx, published, w.l); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), same)
			if there, err := Exists(w.ctx, w.wh, tidegate.DefaultWorkspace, w.name); err != nil || there {
				t.Fatalf("%v: is it still published: %t", err, there)
			}
			// Into another database and back, with the desk that is left empty.
			w.opts.Home = home
			w.open()
			want(t, w.run(), same)
			here, desk := w.l, w.store
			w.opts.Home, w.store = nil, deskOf(w)
			w.open()
			if err := Move(w.ctx, here, w.l); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), same)
			there := w.l
			w.opts.Home, w.store = home, desk
			w.open()
			if err := Move(w.ctx, there, w.l); err != nil {
				t.Fatal(err)
			}
			want(t, w.run(), same)
			w.publishedIsDesk()
		})
	}
}

// watchedHome counts the rows that leave a home.
type watchedHome struct {
	Home
	rows int
}

func (h *watchedHome) Query(ctx context.Context, sql string, args ...any) (tidegate.RowReader, error) {
	r, err := h.Home.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return &watchedRows{RowReader: r, h: h}, nil
}

type watchedRows struct {
	tidegate.RowReader
	h *watchedHome
}

func (r *watchedRows) Next(ctx context.Context) (tidegate.Row, error) {
	row, err := r.RowReader.Next(ctx)
	if err == nil {
		r.h.rows++
	}
	return row, err
}

// TestOnlyChangesLeaveTheWarehouse: the comparison is made where the model is. Keys are
// of every kind that can be one, columns of every kind, and each is part of the fingerprint.
func TestOnlyChangesLeaveTheWarehouse(t *testing.T) {
	t.Parallel()
	for _, place := range homes() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorldAt(t, place)
			schema := tidegate.Schema{
				column("id", tidegate.Int), column("email", tidegate.String), column("b", tidegate.Bool), column("f", tidegate.Float), column("d", tidegate.Date), column("t", tidegate.Timestamp),
				column("x", tidegate.Bytes), column("j", tidegate.JSON),
				{Name: "m", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
			}
			w.fields = []tidegate.FieldMapping{{Field: "email", Column: "email"}}
			for _, c := range schema[2:] {
				w.fields = append(w.fields, tidegate.FieldMapping{Field: c.Name, Column: c.Name})
			}
			w.def.PrimaryKey = []string{"id", "b", "d", "t", "x", "m"}
			day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
			rows := make([]tidegate.Row, 20)
			for i := range rows {
				rows[i] = tidegate.Row{int64(i), fmt.Sprintf(`"q\%d'@ü.io`, i), i%2 == 0, float64(i) / 4, tidegate.DateOf(day), day.Add(time.Duration(i) * time.Microsecond), []byte{0, byte(i)}, tidegate.JSONText(`{"a":[1,null,"x"]}`), tidegate.DecimalText("-12.5")}
			}
			rows[1][3], rows[2][7] = nil, nil // NULL is a value among others
			w.table("people", schema, rows...)
			want(t, w.run(), Summary{Read: 20, Added: 20})
			watched := &watchedHome{Home: w.wh}
			w.opts.Home = watched
			w.opts.Model = watched
			w.open()
			want(t, w.run(), Summary{Read: 20, Unchanged: 20, LedgerRows: 20})
			if watched.rows > 10 {
				t.Errorf("%d rows left the warehouse although nothing changed", watched.rows)
			}
			others := tidegate.Row{nil, "else", nil, 9.5, nil, nil, nil, tidegate.JSONText(`{"a":2}`), nil}
			for i, v := range others {
				if v == nil {
					continue // it is part of the key
				}
				rows[10][i] = v
				w.table("people", schema, rows...)
				watched.rows = 0
				want(t, w.run(), Summary{Read: 20, Unchanged: 19, Changed: 1, LedgerRows: 20})
				if watched.rows > 15 {
					t.Errorf("%d rows left the warehouse for one change of %s", watched.rows, schema[i].Name)
				}
			}
			// Rows of one key that hide among the unchanged are found.
			twin := append(tidegate.Row{}, rows[15]...)
			w.table("people", schema, slices.Concat(rows, []tidegate.Row{twin})...)
			want(t, w.run(), Summary{Read: 21, Unchanged: 19, BadKeys: 2, LedgerRows: 20})
			twin[1] = "another"
			w.table("people", schema, slices.Concat(rows, []tidegate.Row{twin})...)
			want(t, w.run(), Summary{Read: 21, Unchanged: 19, BadKeys: 2, LedgerRows: 20})
			w.publishedIsDesk()
		})
	}
}

// TestCopyOfAPublishedLedger: a copy is what the newest publication says, also where the desk is
// an older one, or new; and another home of the same desk gets the ledger with the next run.
func TestCopyOfAPublishedLedger(t *testing.T) {
	t.Parallel()
	for _, place := range someHome() {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := publishedPeople(t, place)
			w.run()
			old, home := w.store, w.opts.Home
			w.anotherDesk()
			w.people(11, 20, 30, 40)
			w.run() // which the first hub does not know of
			same := Summary{Read: 4, Unchanged: 4, LedgerRows: 4}
			for name, desk := range map[string]warehouse.Execer{"an older desk": old, "a new desk": deskOf(w)} {
				w.store, w.opts.Home = desk, home
				w.open()
				from := w.l
				w.store, w.opts.Home = deskOf(w), nil
				w.open()
				if err := Copy(w.ctx, from, w.l); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				want(t, w.run(), same)
			}
			// Another warehouse, of which the model is the same.
			w.store, w.opts.Home = old, home
			w.open()
			from, before := w.l, w.wh
			other := openHome(w, place)
			w.wh, w.opts.Model, w.opts.Home = other, other, other
			w.open()
			if err := Copy(w.ctx, from, w.l); err != nil {
				t.Fatal(err)
			}
			w.people(11, 20, 30, 40)
			want(t, w.run(), same)
			w.publishedIsDesk()
			if there, err := Exists(w.ctx, before, tidegate.DefaultWorkspace, w.name); err != nil || !there {
				t.Fatalf("the copied ledger is still where it was: %t, %v", there, err)
			}
		})
	}
}
