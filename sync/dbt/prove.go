package dbt

import (
	"context"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Prover asks the warehouse what artefacts do not say.
type Prover struct {
	Dialect sqltext.Dialect
	// Query runs one read-only statement and returns its columns and how many
	// rows it has.
	Query func(ctx context.Context, sql string) (columns []Column, rows int64, err error)
}

// Now is the new side: its models are read as their compiled SQL, because
// nobody has built them yet. Artefacts read without Options.Code, or not
// compiled, are looked at where the manifest says that the table is.
func (p Prover) Now(ctx context.Context, a *Artifacts) Side {
	return Side{
		Artifacts: a,
		Probe:     func(m *Model) (*Columns, error) { return p.columns(ctx, m, m.Compiled) },
		Unique:    func(m *Model, key []string) (bool, bool, error) { return p.unique(ctx, m, key) },
	}
}

// Before is the old side: its models are the tables of the warehouse.
func (p Prover) Before(ctx context.Context, a *Artifacts) *Side {
	return &Side{Artifacts: a, Probe: func(m *Model) (*Columns, error) { return p.columns(ctx, m, "") }}
}

// relation is what is read of a model.
func (p Prover) relation(m *Model, code string) (string, error) {
	if code = strings.TrimRight(strings.TrimSpace(code), "; \n"); code != "" {
		return "(\n" + code + "\n) AS model", nil
	}
	table, err := p.Dialect.Table(m.Schema, m.Alias)
	return string(table), err
}

// columns returns nil when the warehouse refuses: what the model reads may not
// have been built there.
func (p Prover) columns(ctx context.Context, m *Model, code string) (*Columns, error) {
	from, err := p.relation(m, code)
	if err != nil {
		return nil, err
	}
	list, _, err := p.Query(ctx, "SELECT * FROM "+from+" LIMIT 0")
	if err != nil {
		return nil, unlessRefused(err)
	}
	return &Columns{List: list, Complete: true, From: "warehouse"}, nil
}

// unlessRefused is nil for an error that says something about the statement.
func unlessRefused(err error) error {
	if err == nil {
		return nil
	}
	if f := tidegate.FaultOf(err); f.Action == tidegate.Halt && !strings.HasPrefix(f.Code, "server.") && !strings.HasPrefix(f.Code, "auth.") {
		return nil
	}
	return err
}

// unique looks for a key that is NULL or stands twice.
func (p Prover) unique(ctx context.Context, m *Model, key []string) (unique, known bool, err error) {
	from, err := p.relation(m, m.Compiled)
	if err != nil {
		return false, false, err
	}
	columns, err := p.Dialect.Idents(key)
	if err != nil {
		return false, false, err
	}
	nulls := make([]sqltext.Text, len(columns))
	for i, c := range columns {
		nulls[i] = c + " IS NULL"
	}
	list := string(sqltext.Join(columns, ", "))
	_, rows, err := p.Query(ctx, "SELECT "+list+" FROM "+from+" GROUP BY "+list+" HAVING count(*) > 1 OR "+string(sqltext.Join(nulls, " OR "))+" LIMIT 1")
	return rows == 0, err == nil, unlessRefused(err)
}
