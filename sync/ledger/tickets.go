package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/warehouse"
)

// tickets are open writes in the order in which they were named.
type tickets []OpenTicket

func (t *tickets) add(name destinations.Ticket, ordinals ...int64) *OpenTicket {
	i := slices.IndexFunc(*t, func(o OpenTicket) bool { return o.Ticket == name })
	if i < 0 {
		*t = append(*t, OpenTicket{Ticket: name})
		i = len(*t) - 1
	}
	open := &(*t)[i]
	for _, ordinal := range ordinals {
		if !slices.Contains(open.Ordinals, ordinal) {
			open.Ordinals = append(open.Ordinals, ordinal)
		}
	}
	return open
}

func (l *Ledger) keepTickets(ctx context.Context, tx warehouse.Tx, runID string, open tickets, now time.Time) error {
	for _, t := range open {
		ordinals, err := json.Marshal(t.Ordinals)
		if err != nil {
			return fmt.Errorf("writing a ticket: %w", err)
		}
		values := l.sql.text(1) + ", " + l.sql.text(2) + ", " + l.sql.text(3) + ", " + l.sql.time(4)
		if _, err := tx.Exec(ctx, string("INSERT INTO "+l.sql.of("tickets")+" VALUES ("+values+")"), runID, string(t.Ticket), string(ordinals), now); err != nil {
			return fmt.Errorf("keeping a ticket: %w", err)
		}
	}
	return nil
}

// openTickets lists the tickets of which a record is not settled.
func (l *Ledger) openTickets(ctx context.Context, tx warehouse.Tx, runID string, settled func(int64) bool) ([]OpenTicket, error) {
	var all tickets
	err := warehouse.Each(ctx, tx, string("SELECT ticket, ordinals, recorded_at FROM "+l.sql.of("tickets")+" WHERE run_id = $1 ORDER BY recorded_at, ticket"), []any{runID}, func(row tidegate.Row) error {
		var name, text string
		var at time.Time
		if err := scan(row, &name, &text, &at); err != nil {
			return err
		}
		var ordinals []int64
		if err := json.Unmarshal([]byte(text), &ordinals); err != nil {
			return fmt.Errorf("reading a ticket: %w", err)
		}
		if t := all.add(destinations.Ticket(name), ordinals...); t.At.IsZero() {
			t.At = at
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tickets: %w", err)
	}
	return slices.DeleteFunc(all, func(t OpenTicket) bool {
		return !slices.ContainsFunc(t.Ordinals, func(o int64) bool { return !settled(o) })
	}), nil
}
