package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// step is a statement of a fold, and what it does to the tables that the fence has the checksum of.
type step struct {
	sql string
	// of is the kind of table, empty for those without a checksum.
	of string
	// sign is 1 where rows come, -1 where they go, 0 where they are no longer acked.
	sign int64
}

// foldWith runs the steps of a fold and seals the ledger. Where a step can say which rows it
// touched and they are few, the checksum is carried on by them: taking it anew reads both tables whole. What
// others changed since the ledger was verified then shows at the next verification, and is not sealed with the rest.
func (l *Ledger) foldWith(ctx context.Context, tx warehouse.Tx, steps []step, s storedPlan) error {
	carry := l.sql.e.words().returns && s.changes <= s.summary.LedgerRows/fewKeys
	var sums [7]int64
	if carry {
		if err := one(ctx, tx, string("SELECT "+sumList()+" FROM "+l.sql.of("fence")), nil, into(&sums)...); err != nil {
			return fmt.Errorf("reading the fence: %w", err)
		}
	}
	for i, step := range steps {
		var err error
		if carry && step.of != "" {
			err = l.carry(ctx, tx, step, &sums)
		} else {
			_, err = tx.Exec(ctx, step.sql)
		}
		if err != nil {
			return fmt.Errorf("folding results in, step %d: %w", i+1, err)
		}
	}
	seal, args := l.sql.seal(), []any(nil)
	if carry {
		seal, args = l.sql.sealAs(sums)
	}
	if _, err := tx.Exec(ctx, seal, args...); err != nil {
		return fmt.Errorf("sealing the ledger: %w", err)
	}
	return nil
}

// sumList are the columns of the fence that are its checksum, in the order of fence.sums.
func sumList() sqltext.Text { return sqltext.Text(strings.Join(sumColumns(), ", ")) }

func into(sums *[7]int64) []any {
	list := make([]any, len(sums))
	for i := range sums {
		list[i] = &sums[i]
	}
	return list
}

// carry runs a step and carries sums on by the rows that it touched.
func (l *Ledger) carry(ctx context.Context, tx warehouse.Tx, s step, sums *[7]int64) error {
	var rows, acked, keys, fingerprints, low int64
	if err := one(ctx, tx, l.sql.returning(s), nil, &rows, &acked, &keys, &fingerprints, &low); err != nil {
		return err
	}
	if s.of == "records" {
		sums[5] += s.sign * rows
		sums[6] ^= keys
		return nil
	}
	if s.sign == 0 { // the keys stay, their fingerprints count no longer
		keys, s.sign, rows = 0, -1, 0
	}
	sums[0] += s.sign * rows
	sums[1] += s.sign * acked
	sums[2] ^= keys
	sums[3] ^= fingerprints
	sums[4] += s.sign * low
	return nil
}

// returning is a step that returns the checksum of the rows that it touched: their number, how many of
// them are or were acked, their keys, and the two sums of acked fingerprints.
func (s statements) returning(of step) string {
	t := s.of(of.of)
	acked, fingerprint := t+".acked", t+".fingerprint"
	switch {
	case of.of == "records":
		acked, fingerprint = "false", "CAST(NULL AS BIGINT)"
	case of.sign == 0:
		acked = "true"
	}
	return string("WITH touched AS (" + sqltext.Text(of.sql) + " RETURNING " + t + ".key_hash, " + acked + " AS acked, " + fingerprint + " AS fingerprint) " + ledgerSums("touched", "", false))
}

// sealAs stores a checksum in the fence.
func (s statements) sealAs(sums [7]int64) (sql string, args []any) {
	set := sqltext.Text("")
	for i, name := range sumColumns() {
		if i > 0 {
			set += ", "
		}
		set += sqltext.Text(name) + " = " + s.int(i+1)
		args = append(args, sums[i])
	}
	return string("UPDATE " + s.of("fence") + " SET " + set), args
}
