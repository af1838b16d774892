package ledger

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// pairing compares in the program, where the engine hands fingerprints over as it reads
// them: those of the ledger while it is verified, those of the model while its checksum is
// taken. A join of both in the engine costs three times as much, most of it for rows that
// did not change. The engine reads a second time and keeps only what has no partner.
type pairing struct {
	tx            warehouse.PredicateTx
	model, ledger *gathered
}

const (
	// pairMemory is the share of the engine's memory that pairing may take, one part in so many;
	// pairRow is what a row of either side takes, with the room around it.
	pairMemory, pairRow = 4, 10
	// pairMost: with more changes than one row in so many it is the engine that compares.
	pairMost = 4
	// fewKeys: of so many keys one is asked for, or fewer, when they are picked out.
	fewKeys = 20
)

// pairable says whether fingerprints may be paired in the program. After a plan that found
// nothing the next is expected to find nothing, and that is what the checksums tell sooner
// by themselves.
func (p *planner) pairable(f fence) bool {
	return f.keys > 0 && f.dirty > 0 && p.w.home == nil && p.req.Mode != tidegate.Full && !p.req.Partial
}

// pairing prepares for a ledger; nil where the engine has to compare.
func (p *planner) pairing(tx warehouse.Tx, f fence) *pairing {
	lender, ok := tx.(warehouse.PredicateTx)
	keys := f.keys
	if !ok || !p.pairable(f) {
		return nil
	}
	limit := lender.Memory() / pairMemory / pairRow
	if limit == 0 || 2*keys > limit {
		return nil
	}
	return &pairing{tx: lender, ledger: gather(keys, keys), model: gather(keys, limit-keys)}
}

// verify holds the ledger to its checksum, and keeps its fingerprints where they are to be paired.
func (p *planner) verify(ctx context.Context, reading warehouse.Tx) (err error) {
	p.fence, err = p.w.verifyWith(ctx, reading, func(f fence) asked {
		if p.pairs = p.pairing(reading, f); p.pairs == nil {
			return p.bring(ctx, reading, f)
		}
		more, drop := p.pairs.counted(p.pairs.ledger, "confirmed")
		return asked{more: more, drop: drop}
	})
	if p.pairs != nil && p.pairs.ledger.rows != p.fence.acked {
		p.pairs = nil
	}
	return p.verified(ctx, reading, err)
}

// keepModel is a number to ask for with the checksum of the model, so that its fingerprints are kept.
func (p *planner) keepModel() (more sqltext.Text, drop func()) {
	if p.pairs == nil {
		return "0", func() {}
	}
	return p.pairs.counted(p.pairs.model, "m.fingerprint")
}

// counted is a further number of a query that reads rows: those whose fingerprint was kept.
func (a *pairing) counted(side *gathered, fingerprint string) (sql sqltext.Text, drop func()) {
	call, drop := a.tx.Predicate(func(values []int64, answers []bool) {
		side.add(values, answers)
		for i := range answers {
			answers[i] = true
		}
	}, false)
	return sqltext.Text("CAST(bool_and(" + call(fingerprint) + ") AS BIGINT)"), drop
}

// unpaired makes c read what has no partner on either side, instead of joining, until drop.
// It returns how many rows of the model have one; false when the engine has to compare.
func (p *planner) unpaired(c *comparison) (unchanged int64, ok bool, drop func()) {
	if p.brought != nil {
		unchanged, ok = p.partnerless(c)
		return unchanged, ok, func() {}
	}
	a := p.pairs
	p.pairs, drop = nil, func() {}
	if a == nil || a.model.over || a.model.rows != c.model.rows {
		return 0, false, drop
	}
	found := pair(a.model, a.ledger)
	if c.twins = found.twins; found.twins || int64(len(found.added)+len(found.gone)) > (c.model.rows+c.keys)/pairMost {
		return 0, false, drop
	}
	isAdded, dropAdded := a.tx.Predicate(among(found.added), true)
	isGone, dropGone := a.tx.Predicate(among(found.gone), true)
	const partner sqltext.Text = ", CAST(NULL AS BIGINT) AS n_hash, CAST(NULL AS BIGINT) AS n_check, CAST(NULL AS BOOLEAN) AS n_acked, true AS open"
	known := " UNION ALL BY NAME SELECT key_hash AS n_hash, key_check AS n_check, acked AS n_acked, true AS open FROM " + c.ledger + " WHERE "
	c.staged = "SELECT m.*" + partner + " FROM (" + c.rows + ") AS m WHERE " + sqltext.Text(isAdded("m.fingerprint")) +
		known + "acked AND " + sqltext.Text(isGone("fingerprint")) + known + "NOT acked"
	return c.model.rows - int64(len(found.added)), true, func() { dropAdded(); dropGone() }
}

// keysAmong lends a predicate that says which key hashes stand in the rows rows of from. It is
// for few keys of many: an engine that asks it while it reads a table unpacks little of
// the other rows, which a join would have it do. Otherwise is gives the text "true".
func keysAmong(ctx context.Context, tx warehouse.Tx, from sqltext.Text, rows, of int64) (is func(x string) string, drop func(), err error) {
	is, drop = func(string) string { return "true" }, func() {}
	lender, ok := tx.(warehouse.PredicateTx)
	if !ok || rows > of/fewKeys || rows > lender.Memory()/pairMemory/pairRow {
		return is, drop, nil
	}
	keys := gather(rows, rows)
	all, done := lender.Predicate(keys.add, false)
	defer done()
	var none bool
	if err := one(ctx, tx, string("SELECT bool_or("+sqltext.Text(all("key_hash"))+") FROM "+from), nil, &none); err != nil {
		return is, drop, fmt.Errorf("gathering keys: %w", err)
	}
	if keys.over {
		return is, drop, nil
	}
	is, drop = lender.Predicate(among(keys.list()), true)
	return is, drop, nil
}
