package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/evolve"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/internal/crashpoint"
	"github.com/tidegate/tidegate/internal/retry"
	"github.com/tidegate/tidegate/warehouse"
)

// history is where the loader notes how its tables came to be as they are.
func (l *Loader) history() evolve.Log { return evolve.Log{Schema: l.opts.Books} }

// ensureAttempts bounds how often ensure starts over because somebody else changed a
// table at the same moment.
const ensureAttempts = 5

// ensure makes the tables and columns that ld's rows need, and notes in the same
// transaction which events brought them. It is additive and may be done twice, so it
// needs no transaction with the rows.
func (l *Loader) ensure(ctx context.Context, ld *load) error {
	if len(ld.missing) == 0 {
		return nil
	}
	for attempt := 1; ; attempt++ {
		err := l.alter(ctx, ld)
		if err == nil {
			break
		}
		if attempt == ensureAttempts || tidegate.FaultOf(err).Code != "warehouse.conflict" {
			return err
		}
		if err := retry.Wait(ctx, time.Duration(attempt)*10*time.Millisecond); err != nil {
			return fmt.Errorf("making sure of the tables: %w", err)
		}
	}
	ld.ddl = true
	crashpoint.Hit(crashpoint.LoadAfterDDL)
	return nil
}

func (l *Loader) alter(ctx context.Context, ld *load) (err error) {
	tx, err := l.opts.Warehouse.Begin(ctx)
	if err != nil {
		return fmt.Errorf("beginning to make sure of the tables: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	var changes []evolve.ColumnChange
	for _, m := range ld.missing {
		actual, err := tx.Ensure(ctx, m.table, m.columns)
		if err != nil {
			return fmt.Errorf("making sure of %s: %w", m.table, err)
		}
		for k, c := range m.columns {
			i := slices.IndexFunc(actual, func(a tidegate.Column) bool { return strings.EqualFold(a.Name, c.Name) })
			if i < 0 || actual[i].Type != c.Type {
				return fmt.Errorf("making sure of column %s of %s: %w", c.Name, m.table, errStale)
			}
			from := m.origins[k]
			changes = append(changes, evolve.ColumnChange{
				At: ld.at, Schema: m.table.Schema, Table: m.table.Name, Column: c.Name, Change: evolve.Added, NewType: c.Type.String(),
				Source: from.Source, Name: from.Name, MessageID: from.MessageID, Offset: from.Offset.String(),
			})
		}
	}
	if err := l.history().Record(ctx, tx, ld.once, changes); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing the tables' columns: %w", err)
	}
	return nil
}

// maxCollisions bounds the log of collisions.
const maxCollisions = 10_000

// collisions are those of the names of ld's events that the log does not have yet.
func (l *Loader) collisions(ctx context.Context) ([]shape.Collision, error) {
	found := l.shaper.Collisions()
	if len(found) == 0 {
		return nil, nil
	}
	if l.met == nil {
		logged, err := l.history().Collisions(ctx, l.opts.Warehouse, maxCollisions)
		if err != nil {
			return nil, err
		}
		l.met = make(map[meeting]bool, len(logged))
		for _, c := range logged {
			l.met[meeting{warehouse.Table{Schema: c.Schema, Name: c.Table}, c.Column, c.Kept, c.Other}] = true
		}
	}
	fresh := found[:0]
	for _, c := range found {
		if m := (meeting{c.Table, c.Column, c.Kept, c.Other}); !l.met[m] && len(l.met) < maxCollisions {
			l.met[m] = true
			fresh = append(fresh, c)
		}
	}
	return fresh, nil
}

// meeting is what makes a collision the same one again.
type meeting struct {
	table               warehouse.Table
	column, kept, other string
}
