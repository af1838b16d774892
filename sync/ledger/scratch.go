package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/warehouse"
)

// scratch compares the model with the ledger. Each confirmed row of the ledger
// that is not open is paired with exactly one row of the model, unless rows of
// one key hide among the unchanged: then it compares again, row by row of each key.
func (p *planner) scratch(ctx context.Context, reading warehouse.Tx, c comparison) error {
	for again := false; ; again = true {
		if err := p.compared(ctx, reading, &c); err != nil {
			return err
		}
		var rows, unchanged, open, unpaired, absent, twins int64
		if err := one(ctx, reading, p.w.sql.totals(), nil, &rows, &unchanged, &open, &p.w.sum.BadKeys, &unpaired, &absent); err != nil {
			return fmt.Errorf("counting: %w", err)
		}
		p.absent, p.open = absent > 0, max(rows-unchanged, 0)+absent
		if c.twins {
			if !again || p.home != nil { // a partial read: there is no group of the unchanged that counts them
				return p.count(ctx, reading, c)
			}
			return nil
		}
		if p.home == nil && (c.staged != "" || c.found != nil) && rows != c.model.rows {
			continue // the query returned other rows the second time: the engine compares, in one pass
		}
		p.read = rows
		if unpaired > 0 && p.fence.keys > 0 {
			if err := one(ctx, reading, p.w.sql.twins(), nil, &twins); err != nil {
				return fmt.Errorf("looking for repeated keys: %w", err)
			}
		}
		if unchanged == p.fence.acked-open && twins == 0 {
			return nil
		}
		c.twins = true
	}
}

// compared fills the scratch table.
func (p *planner) compared(ctx context.Context, reading warehouse.Tx, c *comparison) error {
	away, elsewhere, drop, err := p.elsewhere(ctx, reading, c)
	if err != nil {
		return err
	}
	defer drop()
	if c.found != nil {
		if err := p.scratchFound(ctx, reading, c); err != nil {
			return err
		}
		return p.countUnchanged(ctx, reading, away)
	}
	for _, sql := range p.w.sql.e.scratch(*c) {
		var args []any
		if strings.Contains(sql, string(c.rows)) {
			args = p.src.args
		}
		if _, err := reading.Exec(ctx, sql, args...); err != nil {
			return err
		}
	}
	if !elsewhere || c.twins || c.every {
		return nil
	}
	return p.countUnchanged(ctx, reading, away)
}

// elsewhere makes c read only what is open, until drop, where another than the engine of
// the ledger compares. away is how many unchanged rows of the model it does not read.
func (p *planner) elsewhere(ctx context.Context, reading warehouse.Tx, c *comparison) (away int64, is bool, drop func(), err error) {
	if p.home != nil {
		away, err = p.fetch(ctx, reading, c)
		return away, true, func() {}, err
	}
	c.staged, c.found = "", nil
	away, is, drop = p.unpaired(c)
	return away, is, drop, nil
}

// count counts a partial read, which is small.
func (p *planner) count(ctx context.Context, reading warehouse.Tx, c comparison) error {
	return one(ctx, reading, string("SELECT count(*) FROM ("+c.rows+") AS m"), p.src.args, &p.read)
}
