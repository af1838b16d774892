package tidegate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Kind is a column's family of types. The set is closed: an adapter maps each
// of its engine's types to one of these or refuses the column with a Fault.
type Kind uint8

// The kinds, with the Go type that carries a value of each in a Row.
const (
	Unknown   Kind = iota
	Bool           // bool
	Int            // int64
	Float          // float64
	Decimal        // DecimalText, canonical: never a float64
	String         // string, valid UTF-8 without NUL
	Bytes          // []byte
	Date           // CalendarDate
	Timestamp      // time.Time in UTC, microsecond precision
	JSON           // JSONText
)

var kindNames = [...]string{"unknown", "bool", "int", "float", "decimal", "string", "bytes", "date", "timestamp", "json"}

// String returns the lower-case name that schemas and documentation use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Type is a Kind with the precision that Decimal needs (1..38 digits, Scale of
// them after the point). Precision and Scale are zero for every other kind.
type Type struct {
	Kind      Kind
	Precision int
	Scale     int
}

// String returns "int", "decimal(38,9)" and so on.
func (t Type) String() string {
	if t.Kind == Decimal {
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	}
	return t.Kind.String()
}

// Cardinality is what is known beforehand of how a column's values repeat. It is a hint
// for an engine that stores a new column in less time when it is told; nothing that is
// read or written depends on it, and a wrong one costs space only.
type Cardinality uint8

// The cardinalities.
const (
	UnknownCardinality Cardinality = iota // the engine finds out
	UniqueValues                          // nearly every row has a value of its own: ids, offsets
	FewValues                             // few values fill many rows: libraries, time zones
)

// Column is one column of a Schema. Every column accepts NULL.
type Column struct {
	Name string
	Type Type
	// Cardinality is for columns that are to be made; a described column has none.
	Cardinality Cardinality
}

// Schema is the ordered list of columns of a stream or a table.
type Schema []Column

// Index returns the position of the column called name, or -1. Names compare exactly.
func (s Schema) Index(name string) int {
	for i := range s {
		if s[i].Name == name {
			return i
		}
	}
	return -1
}

// Names returns the column names in order.
func (s Schema) Names() []string {
	names := make([]string, len(s))
	for i := range s {
		names[i] = s[i].Name
	}
	return names
}

// DecimalText is an exact decimal in canonical text: optional minus, digits
// without leading zeros, optional point and digits without trailing zeros; "0"
// for zero. It is the only carrier of a Decimal value.
type DecimalText string

// JSONText is one valid JSON text as stored; it carries a JSON value.
type JSONText string

// CalendarDate is a day without a time zone, as days since 1970-01-01. It carries a Date value.
type CalendarDate int32

// Time returns midnight UTC of d.
func (d CalendarDate) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String returns d as YYYY-MM-DD.
func (d CalendarDate) String() string { return d.Time().Format(time.DateOnly) }

// DateOf returns the calendar date of t in UTC.
func DateOf(t time.Time) CalendarDate {
	s := t.Unix()
	d := s / 86400
	if s%86400 < 0 {
		d--
	}
	return CalendarDate(d)
}

// Row is one record, positional: its schema is the reader's. A cell is nil for
// NULL, otherwise bool, int64, float64, DecimalText, string, []byte,
// CalendarDate, time.Time or JSONText, as the column's Kind says.
type Row []any

// RowReader is a stream of rows of one schema, read by one goroutine.
type RowReader interface {
	// Schema is known before the first row and does not change.
	Schema() Schema
	// Next blocks for the next row and returns io.EOF after the last. The row is
	// valid until the following call. Any other error ends the stream and must
	// never be taken for its end (Invariant 6).
	Next(ctx context.Context) (Row, error)
	// Close releases the stream; it may be called at any time and twice.
	Close() error
}

// Rows is a RowReader over rows in memory, for small results and tests.
func Rows(s Schema, rows ...Row) RowReader { return &memoryRows{schema: s, rows: rows} }

type memoryRows struct {
	schema Schema
	rows   []Row
	next   int
}

func (m *memoryRows) Schema() Schema { return m.schema }

func (m *memoryRows) Next(ctx context.Context) (Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m.next >= len(m.rows) {
		return nil, io.EOF
	}
	m.next++
	return m.rows[m.next-1], nil
}

func (m *memoryRows) Close() error { m.next = len(m.rows); return nil }

// EachRow hands the rows of r to use, one by one, and closes it. A row is valid until use returns.
func EachRow(ctx context.Context, r RowReader, use func(Row) error) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		row, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := use(row); err != nil {
			return err
		}
	}
}

// AllRows returns the rows of a small result, and closes it.
func AllRows(ctx context.Context, r RowReader) (all []Row, err error) {
	err = EachRow(ctx, r, func(row Row) error {
		all = append(all, append(Row{}, row...))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
