package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/celltext"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// loadsTable remembers the loads.
var loadsTable = warehouse.Table{Schema: "_tidegate", Name: "loads"}

func loadsSchema() tidegate.Schema {
	text := tidegate.Type{Kind: tidegate.String}
	return tidegate.Schema{
		{Name: "load_id", Type: text},
		{Name: "table_schema", Type: text},
		{Name: "table_name", Type: text},
		{Name: "rows_loaded", Type: tidegate.Type{Kind: tidegate.Int}},
		{Name: "loaded_at", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	}
}

// books is the table as it is described, without asking.
func (w *Warehouse) books() (*table, error) {
	quoted, err := w.dialect.Table(loadsTable.Schema, loadsTable.Name)
	if err != nil {
		return nil, err
	}
	t := &table{Table: loadsTable, quoted: quoted}
	for _, c := range loadsSchema() {
		name := sqltext.Upper(c.Name)
		switch c.Type.Kind {
		case tidegate.Int:
			t.columns = append(t.columns, newColumn(name, "fixed", intDigits, 0, 0))
		case tidegate.Timestamp:
			t.columns = append(t.columns, newColumn(name, "timestamp_tz", 0, 9, 0))
		default:
			t.columns = append(t.columns, newColumn(name, "text", 0, 0, longest))
		}
	}
	return t, nil
}

// bookkeeping makes the table that remembers loads, once.
func (w *Warehouse) bookkeeping(ctx context.Context) error {
	w.mu.Lock()
	booked := w.booked
	w.mu.Unlock()
	if booked {
		return nil
	}
	if _, err := w.ensure(ctx, on{}, loadsTable, loadsSchema()); err != nil {
		return fmt.Errorf("making the table of loads: %w", err)
	}
	w.mu.Lock()
	w.booked = true
	w.mu.Unlock()
	return nil
}

// loaded says whether the load was done: by this transaction, or by one that is committed.
func (t *tx) loaded(ctx context.Context, l warehouse.Load) (bool, error) {
	for _, row := range t.loads {
		if row[0] == l.ID && row[1] == l.Table.Schema && row[2] == l.Table.Name {
			return true, nil
		}
	}
	rows, known := t.done[l.ID]
	if !known {
		var err error
		rows, err = t.w.all(ctx, t.on(), request{
			op: "books", sql: `SELECT table_schema, table_name FROM "_TIDEGATE"."LOADS" WHERE load_id = :1`, args: []any{l.ID},
		})
		if err != nil {
			return false, fmt.Errorf("asking for the load: %w", err)
		}
		t.done[l.ID] = rows
	}
	for _, row := range rows {
		if row[0] == l.Table.Schema && row[1] == l.Table.Name {
			return true, nil
		}
	}
	return false, nil
}

// errLoaded says that another session was quicker with the same load.
var errLoaded = errors.New("another session has done the same load")

// remember writes down the loads. MERGE waits for others that do; what they have
// written down by then is not written again, and so this transaction must not be.
func (t *tx) remember(ctx context.Context) error {
	if len(t.loads) == 0 {
		return nil
	}
	into, err := t.w.books()
	if err != nil {
		return err
	}
	p, err := planLoad(warehouse.Load{ID: "books", Table: loadsTable, Key: []string{"load_id", "table_schema", "table_name"}, KeepExisting: true}, into, loadsSchema())
	if err != nil {
		return err
	}
	rows := lines{cells: p.cells(tidegate.Rows(loadsSchema(), t.loads...))}
	for {
		text, err := rows.take(ctx, inlineBytes)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if len(text) == 0 {
			return nil
		}
		n, failed := t.run(ctx, request{op: "books", sql: string(p.inline()), args: []any{list(text)}})
		if failed != nil {
			return fmt.Errorf("remembering the loads: %w", failed)
		}
		if n != int64(strings.Count(string(text), "\n")) {
			return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.conflict", Message: errLoaded.Error(), Err: errLoaded}
		}
		if last {
			return nil
		}
	}
}

const (
	// commitTimeout is how long a commit may take, the question for it included.
	commitTimeout = 10 * time.Minute
	// grace is how long is waited for the end of something that is given up.
	grace        = 30 * time.Second
	sessionTries = 3
)

// Commit makes everything durable. A transaction in which a call failed is rolled
// back instead, and the error of that call is returned.
func (t *tx) Commit() error {
	if err := t.Ready(t.reader != nil); err != nil {
		return t.GiveUp(err, t.Rollback)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if err := t.commit(ctx); err != nil {
		return errors.Join(fmt.Errorf("committing: %w", t.Fail(err)), t.Rollback())
	}
	t.finish(true)
	return nil
}

func (t *tx) commit(ctx context.Context) error {
	if err := t.remember(ctx); err != nil {
		return err
	}
	id := ""
	if t.wrote {
		rows, err := t.w.all(ctx, t.on(), request{op: "commit", sql: "SELECT CAST(CURRENT_TRANSACTION() AS VARCHAR)"})
		if err != nil {
			return fmt.Errorf("asking for the transaction's name: %w", err)
		}
		if len(rows) == 1 {
			id, _ = rows[0][0].(string)
		}
	}
	_, err := t.w.do(ctx, t.on(), request{op: "commit", sql: "COMMIT"})
	if err == nil || id == "" || !lost(err) {
		return err
	}
	return t.outcome(ctx, id, err)
}

// patience is how often a transaction may be said to run before it is given up.
const patience = 4

// outcome asks what became of a transaction whose commit gave no answer. One that is
// still there after a while is rolled back: that comes after the commit if the session still
// works on that, and then it does nothing.
func (t *tx) outcome(ctx context.Context, id string, lost error) error {
	backoff := retry.Backoff{Base: 100 * time.Millisecond, Cap: 5 * time.Second}
	for attempt := 0; ; attempt++ {
		state, err := t.state(ctx, id)
		switch {
		case state == "committed":
			return nil
		case state != "" && state != "running":
			return fmt.Errorf("the transaction was rolled back: %w", lost)
		case err != nil && tidegate.FaultOf(err).Action == tidegate.Halt:
			return errors.Join(lost, err) // nothing is known of it
		}
		if attempt == patience && t.conn != nil {
			if _, err := t.w.do(ctx, t.on(), request{op: "rollback", sql: "ROLLBACK"}); err != nil {
				discard(t.conn) // whose end rolls back, too
				t.conn = nil
			}
		}
		if retry.Wait(ctx, backoff.Delay(attempt, rand.Float64)) != nil {
			return lost
		}
	}
}

// state is what Snowflake says of a transaction, asked in another session.
func (t *tx) state(ctx context.Context, id string) (string, error) {
	rows, err := t.w.all(ctx, on{}, request{op: "commit", sql: "DESCRIBE TRANSACTION " + digits(id)})
	for _, row := range rows {
		for _, v := range row {
			text, _ := v.(string)
			switch text = strings.ToLower(text); text {
			case "committed", "running", "rolled back", "rolledback", "aborted":
				return text, nil
			}
		}
	}
	return "", err
}

// digits is the name of a transaction, which is a number.
func digits(id string) string {
	if !celltext.AllDigits(id) {
		return "0"
	}
	return id
}

// finish ends the transaction; a session that is clean is used again. The files of
// its loads go, as well as they can: the next attempt of the same load clears them, too.
func (t *tx) finish(clean bool) {
	t.Over = true
	t.held.Release()
	switch {
	case clean:
		_ = t.conn.Close() // back into the pool
	case t.conn != nil:
		discard(t.conn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, path := range t.paths {
		if _, err := t.w.do(ctx, on{}, request{op: "load", sql: "REMOVE " + string(stage) + "/" + path + "/"}); err != nil {
			t.w.log.DebugContext(ctx, "files could not be removed from the stage", "path", path, "error", err)
		}
	}
	t.w.door.Leave()
}

// Rollback gives everything up; after Commit or a first Rollback it does nothing.
func (t *tx) Rollback() error {
	if t.Over {
		return nil
	}
	if t.reader != nil {
		t.reader.done = nil
		_ = t.reader.Close() // it is given up
		t.reader = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	clean := false
	if t.conn != nil {
		_, err := t.w.do(ctx, t.on(), request{op: "rollback", sql: "ROLLBACK"})
		clean = err == nil
	}
	t.finish(clean)
	return nil
}
