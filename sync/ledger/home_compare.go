package ledger

import (
	"context"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// atHome compares the model with the published ledger where both are: only rows that
// may be changes leave the warehouse. They are staged on the desk, which finds the
// same in them that it would have found in all rows.
type atHome struct {
	h *home
	// rows is the model as comparison.rows, in the home's SQL; args are its parameters.
	rows sqltext.Text
	args []any
	// desk is the staged table.
	desk  warehouse.Table
	cells tidegate.Schema
	loads int
}

// proveHome holds the published ledger to its checksum, once before a plan relies on
// it. Rows that somebody changed there are no loss: the desk has them.
func (l *Ledger) proveHome(ctx context.Context) error {
	if l.home == nil {
		return nil
	}
	l.writes.Lock()
	defer l.writes.Unlock()
	var f fence
	err := l.read(ctx, func(ctx context.Context, tx warehouse.Tx) (err error) {
		f, err = l.verify(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	whole, err := l.home.intact(ctx, f.sums)
	if err != nil || whole {
		return err
	}
	l.opts.Log.WarnContext(ctx, "the published ledger was changed by others and is published whole", "sync", l.sync)
	if err := l.transact(ctx, l.unpublishAll); err != nil {
		return err
	}
	p, err := l.publicationNow(ctx)
	if err != nil {
		return err
	}
	return l.publish(ctx, p.published)
}

// findHome says whether this plan compares at home: when the home shows what the desk holds.
func (p *planner) findHome(ctx context.Context, reading warehouse.Tx) error {
	h := p.w.home
	if h == nil {
		return nil
	}
	pub, err := p.w.publication(ctx, reading)
	if err != nil || !pub.inStep() {
		return err
	}
	if p.w.looking { // a plan has been proven
		if whole, err := h.intact(ctx, p.fence.sums); err != nil || !whole {
			return err
		}
	}
	p.home = &atHome{h: h, args: p.req.Model.Args, desk: warehouse.Table{Schema: Schema, Name: p.w.names.of("rows").Name}}
	return nil
}

// prepare writes the model's rows in the home's SQL.
func (a *atHome) prepare(src source) error {
	a.cells = nil
	var hashed []sqltext.Cell
	var cells []sqltext.Text
	for i, c := range src.columns {
		q, err := a.h.d.Ident(c.Name)
		if err != nil {
			return err
		}
		q = "q." + q
		switch c.Type.Kind {
		case tidegate.Int, tidegate.Float, tidegate.Bool: // the engine's narrower types of one kind
			typ, err := a.h.d.Type(c.Type)
			if err != nil {
				return err
			}
			q = "CAST(" + q + " AS " + typ + ")"
		default:
		}
		hashed, cells = append(hashed, sqltext.Cell{Column: q, Kind: c.Type.Kind}), append(cells, q+" AS "+cell(i))
		a.cells = append(a.cells, tidegate.Column{Name: string(cell(i)), Type: c.Type})
	}
	a.rows = "SELECT true AS present, " + a.h.d.Hash().Row(src.version, hashed) + " AS fingerprint, " + sqltext.Join(cells, ", ") + " FROM (\n" + sqltext.Text(src.model) + "\n) AS q"
	return nil
}

// quick is the checksum of the model's rows.
func (a *atHome) quick(ctx context.Context, sums *checksums) error {
	hash := a.h.d.Hash()
	sql := "SELECT count(*), " + a.h.whole(hash.Xor("m.fingerprint")) + ", " + a.h.whole("sum("+hash.Low("m.fingerprint")+")") + " FROM (" + a.rows + ") AS m"
	return a.h.one(ctx, string(sql), a.args, &sums.rows, &sums.xor, &sums.sum)
}

// joined is comparison.joined in the home's SQL, but for what is open, and with the
// number of the model's rows in each row.
func (a *atHome) joined(c comparison) sqltext.Text {
	join, where := sqltext.Text("FULL"), sqltext.Text(" WHERE n.key_hash IS NULL OR m.present IS NULL")
	if c.partial {
		join = "LEFT"
	}
	if c.every || c.twins {
		where = ""
	}
	list := sqltext.Text("m.present AS present, m.fingerprint AS fingerprint")
	for _, cell := range c.names() {
		list += ", m." + cell + " AS " + cell
	}
	return "SELECT " + list + ", n.key_hash AS n_hash, n.key_check AS n_check, n.acked AS n_acked, (SELECT count(*) FROM (" + a.rows + ") AS z) AS total FROM (" + a.rows + ") AS m " + join +
		" JOIN (SELECT t.key_hash AS key_hash, t.key_check AS key_check, t.acked AS acked, CASE WHEN t.acked THEN t.fingerprint END AS j FROM (" +
		a.h.latest("key_hash", "key_check", "fingerprint", "acked", "gone") + ") AS t WHERE NOT t.gone) AS n ON m.fingerprint = n.j" + where
}

// fetch brings what is open (or, where c asks for it, all) to the desk and makes c read
// it from there. It returns how many rows of the model stayed at home: the unchanged ones.
func (p *planner) fetch(ctx context.Context, reading warehouse.Tx, c *comparison) (unchanged int64, err error) {
	a := p.home
	schema := joined(bools("present"), ints("fingerprint"), a.cells, ints("n_hash", "n_check"), bools("n_acked"), ints("total"))
	if _, err := reading.Ensure(ctx, a.desk, schema); err != nil {
		return 0, fmt.Errorf("creating %s: %w", a.desk, err)
	}
	desk := p.w.sql.table(a.desk)
	if _, err := reading.Exec(ctx, string("DELETE FROM "+desk)); err != nil {
		return 0, fmt.Errorf("emptying %s: %w", a.desk, err)
	}
	a.loads++
	if err := p.w.stage(ctx, reading, a.desk, fmt.Sprint("rows", a.loads), string(a.joined(*c)), a.args); err != nil {
		return 0, fmt.Errorf("staging the rows: %w", err)
	}
	open := sqltext.Text("(s.n_hash IS NULL OR s.present IS NULL)")
	if c.every {
		open = "true"
	}
	c.staged = "SELECT s.*, " + open + " AS open FROM " + desk + " AS s"
	c.rows = "SELECT s.* FROM " + desk + " AS s WHERE s.present"
	var total, here int64
	if err := one(ctx, reading, string("SELECT coalesce(max(total), -1), count(present) FROM "+desk), nil, &total, &here); err != nil {
		return 0, fmt.Errorf("counting the staged rows: %w", err)
	}
	if total < 0 { // nothing is open
		if err := a.h.one(ctx, string("SELECT count(*) FROM ("+a.rows+") AS m"), a.args, &total); err != nil {
			return 0, fmt.Errorf("counting the model's rows: %w", err)
		}
	}
	return total - here, nil
}

// countUnchanged adds what stayed at home to the scratch table.
func (p *planner) countUnchanged(ctx context.Context, reading warehouse.Tx, rows int64) error {
	_, err := reading.Exec(ctx, string("INSERT INTO "+scratchTable+" (open, model_rows, ledger_rows, was_acked) VALUES (false, "+number(rows)+", 0, false)"))
	if err != nil {
		return fmt.Errorf("counting unchanged rows: %w", err)
	}
	return nil
}
