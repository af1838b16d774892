package snowflake

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/tidegate/tidegate"
)

// on is where a statement runs: in a session that is held, or in any of a pool.
type on struct {
	conn *sql.Conn
	db   *sql.DB // nil: of the warehouse
}

// request is one statement.
type request struct {
	op       string // for the query tag
	sql      string
	args     []any // as the driver binds them: text, int64, float64, bool
	describe bool  // say the columns of the result, and do nothing
	file     bool  // a PUT, whose failure is an error
}

// size is about how many bytes it takes to keep the request.
func (r request) size() int {
	n := len(r.sql)
	for _, a := range r.args {
		if text, ok := a.(string); ok {
			n += len(text)
		}
	}
	return n
}

// streamer is what the driver's sessions are: a result comes as parts, each of
// which is fetched when it is asked for.
type streamer interface {
	QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (sf.ArrowStreamLoader, error)
}

// answer is what a statement that has run gave.
type answer struct {
	loader  sf.ArrowStreamLoader
	columns []column
}

// tag is the QUERY_TAG of a statement.
func (w *Warehouse) queryTag(op string) string {
	tag, err := json.Marshal(struct {
		App string `json:"app"`
		Op  string `json:"op"`
		Tag string `json:"tag,omitempty"`
	}{"tidegate", op, w.tag})
	if err != nil {
		return "tidegate"
	}
	return string(tag)
}

// do runs a statement to its end and returns what it gave, which can be read also
// when the session is used again. Its errors are classified.
func (w *Warehouse) do(ctx context.Context, o on, r request) (*answer, error) {
	if o.conn != nil {
		return w.ask(ctx, o, o.conn, r)
	}
	db := o.db
	if db == nil {
		db = w.db
	}
	for try := 1; ; try++ {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, w.classify(ctx, o, err, "")
		}
		a, err := w.ask(ctx, o, conn, r)
		_ = conn.Close() // back into the pool
		// A session that has ended did nothing of the statement, so another may do it.
		if err == nil || !gone(err) || try == sessionTries {
			return a, err
		}
	}
}

// ask runs a statement in a session.
func (w *Warehouse) ask(ctx context.Context, o on, conn *sql.Conn, r request) (*answer, error) {
	asking := sf.WithQueryTag(ctx, w.queryTag(r.op))
	if r.describe {
		asking = sf.WithDescribeOnly(asking)
	}
	if r.file {
		asking = sf.WithFileTransferOptions(asking, &sf.SnowflakeFileTransferOptions{RaisePutGetError: true}) //nolint:staticcheck // without it a failed upload is a row of the result
	}
	args := make([]driver.NamedValue, len(r.args))
	for i, v := range r.args {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	var a answer
	var failed error
	err := conn.Raw(func(c any) error {
		session, ok := c.(streamer)
		if !ok {
			return errors.New("the driver gives no results in parts")
		}
		a.loader, failed = session.QueryArrowStream(asking, r.sql, args...)
		if gone(failed) {
			return driver.ErrBadConn // takes the session out of the pool
		}
		return nil
	})
	if failed == nil {
		failed = err
	}
	if failed != nil {
		return nil, w.classify(ctx, o, failed, r.sql)
	}
	for _, t := range a.loader.RowTypes() {
		a.columns = append(a.columns, newColumn(t.Name, t.Type, int(t.Precision), int(t.Scale), int(t.Length)))
	}
	return &a, nil
}

// gone says whether a session can be used no more.
func gone(err error) bool {
	var f *sf.SnowflakeError
	if !errors.As(err, &f) {
		return false
	}
	switch f.Number {
	case 390104, 390111, 390114, 390115, 390117, 390195, sf.ErrFailedToRenewSession:
		return true
	}
	return false
}

// discard ends a session whose state is not known.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// all returns all rows of a statement with a small result.
func (w *Warehouse) all(ctx context.Context, o on, r request) ([]tidegate.Row, error) {
	a, err := w.do(ctx, o, r)
	if err != nil {
		return nil, err
	}
	return tidegate.AllRows(ctx, w.reader(ctx, o, a))
}

// changed runs a statement and says how many rows it wrote: Snowflake answers a
// statement that writes with a row of counts, and COPY with a row for every file.
func (w *Warehouse) changed(ctx context.Context, o on, r request) (n int64, err error) {
	a, err := w.do(ctx, o, r)
	if err != nil {
		return 0, err
	}
	var counts []int
	for i, c := range a.columns {
		switch {
		case strings.HasPrefix(c.name, "number of rows "), c.name == "rows_loaded":
			counts = append(counts, i)
		}
	}
	if len(counts) == 0 {
		return 0, nil
	}
	rows, err := tidegate.AllRows(ctx, w.reader(ctx, o, a))
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		for _, at := range counts {
			switch v := row[at].(type) {
			case int64:
				n += v
			case tidegate.DecimalText:
				more, err := strconv.ParseInt(string(v), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("reading how many rows were written: %w", err)
				}
				n += more
			}
		}
	}
	return n, nil
}
