package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse"
)

// How far before the last mark a partial read begins: rows that were written
// before it may have been committed after it.
const (
	overlapTime  = time.Hour
	overlapDays  = 1
	overlapCount = 1000

	defaultFullEvery = 24 * time.Hour
)

// checkIncremental takes over how the model is read in part.
func (m *Model) checkIncremental(def tidegate.Model) error {
	if def.Incremental == "" {
		return nil
	}
	path := subject(def.Name) + ": incremental"
	at := m.Schema.Index(def.Incremental)
	if at < 0 {
		return keyless(path, fmt.Sprintf("the query returns no column %q", def.Incremental), config.DidYouMean(def.Incremental, m.Schema.Names()))
	}
	switch kind := m.Schema[at].Type.Kind; kind {
	case tidegate.Int, tidegate.Date, tidegate.Timestamp:
	default:
		return keyless(path, fmt.Sprintf("column %q is %s, which does not grow with every change", def.Incremental, kind), "name a timestamp, a date or an integer, or cast the column to one")
	}
	m.Incremental, m.FullEvery = def.Incremental, defaultFullEvery
	if def.FullEvery != "" {
		every, err := time.ParseDuration(def.FullEvery)
		if err != nil || every <= 0 {
			return keyless(subject(def.Name)+": full_every", fmt.Sprintf("%q is no duration", def.FullEvery), "write 24h")
		}
		m.FullEvery = every
	}
	return nil
}

func keyless(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "model.invalid", Subject: subject, Message: message, Hint: hint}
}

// Mark is the largest value of an incremental model's column, as the canonical
// JSON of a cell; empty when the model has no rows.
type Mark string

// Mark reads the largest value that the model holds now. Read before the rows
// are, it is never beyond them.
func (m *Model) Mark(ctx context.Context, wh warehouse.Warehouse) (mark Mark, err error) {
	column, err := dialectOf(wh).Ident(m.Incremental)
	if err != nil {
		return "", fmt.Errorf("naming the incremental column: %w", err)
	}
	rows, err := wh.Query(ctx, "SELECT max(q."+string(column)+") FROM (\n"+m.SQL+"\n) AS q", m.Args...)
	if err != nil {
		return "", fmt.Errorf("reading the mark of model %s: %w", m.Name, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	row, err := rows.Next(ctx)
	if errors.Is(err, io.EOF) || err == nil && row[0] == nil {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the mark of model %s: %w", m.Name, err)
	}
	text, err := AppendCell(nil, row[0])
	return Mark(text), err
}

// Since is the model with only the rows whose incremental column reaches mark,
// less an overlap. A row whose column is NULL is always among them.
func (m *Model) Since(wh warehouse.Warehouse, mark Mark) (*Model, error) {
	at := m.Schema.Index(m.Incremental)
	if at < 0 {
		return nil, fmt.Errorf("reading model %s in part: it has no incremental column", m.Name)
	}
	from, err := lowered(mark, m.Schema[at].Type.Kind)
	if err != nil {
		return nil, fmt.Errorf("reading model %s in part: %w", m.Name, err)
	}
	d := dialectOf(wh)
	column, err := d.Ident(m.Incremental)
	if err != nil {
		return nil, fmt.Errorf("naming the incremental column: %w", err)
	}
	typ, err := d.Type(m.Schema[at].Type)
	if err != nil {
		return nil, fmt.Errorf("naming the incremental column's type: %w", err)
	}
	part := *m
	part.Args = append(slices.Clone(m.Args), from)
	part.SQL = "SELECT q.* FROM (\n" + m.SQL + "\n) AS q WHERE q." + string(column) + " IS NULL OR q." + string(column) + " >= CAST(" + string(d.Placeholder(len(part.Args))) + " AS " + string(typ) + ")"
	return &part, nil
}

// lowered is the value at which a partial read begins.
func lowered(mark Mark, kind tidegate.Kind) (any, error) {
	v, err := ParseJSON([]byte(mark))
	if err != nil {
		return nil, err
	}
	switch kind {
	case tidegate.Int:
		if n, ok := v.(int64); ok {
			return max(n, -1<<62) - overlapCount, nil
		}
	case tidegate.Date:
		if text, ok := v.(string); ok {
			day, err := time.Parse(time.DateOnly, text)
			return day.AddDate(0, 0, -overlapDays).Format(time.DateOnly), err
		}
	case tidegate.Timestamp:
		if text, ok := v.(string); ok {
			at, err := time.Parse(timestampLayout, text)
			return at.Add(-overlapTime), err
		}
	default:
	}
	return nil, fmt.Errorf("the mark %.40s is none of the column's type %s", mark, kind)
}
