package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// brought is pairing where the engine is a server: it hands fingerprints over on two connections
// at once, in one snapshot. Those of the ledger come with its checksum; those of the model come with a
// number that finds the row again and costs little to compute. The checksum of the model is made of what came.
type brought struct {
	model, ledger *gathered
	sums          checksums // of the model
	workers       string    // what alone returned, until verified gives it back

	stop  context.CancelFunc
	ended chan struct{} // closed when the model was read; what follows may be looked at then
	err   error         // why the model was not read whole
}

// bringer is an engine whose fingerprints may be brought here.
type bringer interface {
	// packed puts numbers of many rows into one value: eight bytes each, the highest first, NULL left out.
	packed(x sqltext.Text) sqltext.Text
	// alone keeps workers from the statements of a transaction, whose rows they would only hand on, and returns how many there were;
	// with them there are so many again.
	alone() string
	with(workers string) string
	// parcel is a query of a text of so many bytes.
	parcel(bytes int64) string
	// found creates the temporary table of candidates of the model's rows some whose fingerprint is among added, and
	// the ledger's whose fingerprint is among gone.
	found(c comparison, some, added, gone sqltext.Text) string
}

const (
	// bringFrom and bringMost are between how many keys of the ledger fingerprints are brought: for few it
	// gains nothing, and many take memory: 8 bytes a key, and 16 a row of the model.
	bringFrom, bringMost = 20_000, 16 << 20
	// packedMost: up to so many keys a side comes in one value, which the server makes in its memory.
	packedMost = 4 << 20
	// bringOpen is how many rows are asked for by their fingerprints.
	bringOpen = 1 << 19
	// A line is fast when it brings parcelBytes in parcelTime, as one of 50 MB/s does: slower, and the bytes would take
	// longer than the server takes to hash what they stand for. One that is far slower is not asked to.
	parcelBytes, parcelTime = 256 << 10, 5 * time.Millisecond
	letterBytes, letterTime = 16 << 10, 20 * time.Millisecond
	parcels                 = 3
)

// errAlone is wrapped by errors of a plan that may succeed when the server compares.
var errAlone = errors.New("fingerprints were brought to the program")

// bring begins to bring the model's fingerprints here, where that is worth it, and
// returns what to ask for beside the checksum of the ledger.
func (p *planner) bring(ctx context.Context, reading warehouse.Tx, f fence) asked {
	sharing, ok := reading.(warehouse.SnapshotTx)
	e, able := p.w.sql.e.(bringer)
	if !ok || !able || p.joins || p.w.opts.Model != nil || f.keys < p.w.bringFrom || f.keys > bringMost || !p.pairable(f) {
		return nothingAsked()
	}
	c, err := p.w.sql.compare(p.src)
	if err != nil {
		return nothingAsked() // it is told when the comparison is made
	}
	beside, err := sharing.Beside(ctx)
	if err != nil {
		p.unshared = true
		return nothingAsked()
	}
	b := &brought{ledger: gather(f.keys, f.keys), model: gather(f.keys, f.keys+f.keys/pairMost+bringFrom), ended: make(chan struct{})}
	b.model.wide = true
	packed := f.keys <= packedMost
	err = p.settle(ctx, beside)
	if near := err == nil && p.near(ctx, beside, e); near && packed {
		err = one(ctx, reading, e.alone(), nil, &b.workers)
	} else if !near {
		err = errAlone
	}
	if err != nil {
		_ = beside.Rollback()
		return nothingAsked() // a transaction that has failed says so
	}
	p.brought = b
	a := nothingAsked()
	rows := "SELECT m.fingerprint AS f, coalesce(" + c.number + ", 0) AS n FROM (" + c.bare + ") AS m LIMIT " + number(b.model.limit+1)
	if packed {
		rows = "SELECT " + e.packed("f") + ", " + e.packed("n") + " FROM (" + rows + ") AS p"
		a.more, a.packed = e.packed("confirmed"), b.unpackLedger
	}
	ctx, b.stop = context.WithCancel(ctx)
	go func() {
		defer close(b.ended)
		b.err = errors.Join(b.readModel(ctx, beside, string(rows), p.src.args), beside.Rollback())
	}()
	return a
}

// near says whether the line to the server is fast.
func (p *planner) near(ctx context.Context, tx warehouse.Tx, e bringer) bool {
	within := func(bytes int64, most time.Duration) bool {
		start, text := p.w.opts.Now(), ""
		err := one(ctx, tx, e.parcel(bytes), nil, &text)
		return err == nil && p.w.opts.Now().Sub(start) <= most
	}
	if !within(letterBytes, letterTime) {
		return false
	}
	for range parcels { // a processor may have been busy
		if within(parcelBytes, parcelTime) {
			return true
		}
	}
	return false
}

// giveUp ends what bring began.
func (p *planner) giveUp() {
	if b := p.brought; b != nil {
		p.brought = nil
		b.stop()
		<-b.ended
	}
}

// readModel gathers the model's fingerprints, each with its number.
func (b *brought) readModel(ctx context.Context, tx warehouse.Tx, sql string, args []any) error {
	err := eachPiece(ctx, tx, sql, args, func(columns [][]int64) {
		for _, v := range columns[0] {
			b.sums.xor ^= v
			b.sums.sum += v & (1<<32 - 1)
		}
		b.sums.rows += int64(len(columns[0]))
		b.model.addWide(columns[0], columns[1])
	})
	if err == nil && b.model.over {
		err = fmt.Errorf("the model has more than %d rows", b.model.limit)
	}
	return err
}

// unpackLedger gathers the ledger's fingerprints, and sums them up.
func (b *brought) unpackLedger(cell any) (xor, sum int64, err error) {
	err = unpack(tidegate.Row{cell}, func(columns [][]int64) {
		b.ledger.add(columns[0], nil)
		for _, v := range columns[0] {
			xor ^= v
			sum += v & (1<<32 - 1)
		}
	})
	return xor, sum, err
}

// verified ends what bring began of the ledger, which was verified with err: where the
// fingerprints did not come packed with its checksum, each comes in a row of its own.
func (p *planner) verified(ctx context.Context, reading warehouse.Tx, err error) error {
	if err != nil && p.unshared {
		return fmt.Errorf("%w: %w", errAlone, err) // what was refused may have ended the transaction
	}
	b := p.brought
	if err != nil || b == nil {
		return err
	}
	e, _ := p.w.sql.e.(bringer)
	if b.workers != "" {
		err = one(ctx, reading, e.with(b.workers), nil)
	} else {
		err = eachPiece(ctx, reading, string("SELECT fingerprint FROM "+p.w.sql.of("ledger")+" WHERE acked"), nil, func(columns [][]int64) { b.ledger.add(columns[0], nil) })
	}
	if err != nil {
		return fmt.Errorf("reading the ledger's fingerprints: %w", err)
	}
	if b.ledger.rows != p.fence.acked {
		p.giveUp()
	}
	return nil
}

// pieceRows is how many numbers are handed on at a time.
const pieceRows = 4096

// eachPiece hands on the numbers of a query, some rows at a time: its columns are numbers, or packed numbers.
func eachPiece(ctx context.Context, tx warehouse.Tx, sql string, args []any, use func(columns [][]int64)) error {
	var columns [][]int64
	err := warehouse.Each(ctx, tx, sql, args, func(row tidegate.Row) error {
		if columns == nil {
			columns = make([][]int64, len(row))
		}
		if _, single := row[0].(int64); !single {
			return unpack(row, use)
		}
		for i, cell := range row {
			v, ok := cell.(int64)
			if !ok {
				return fmt.Errorf("reading numbers: cell %d is a %T", i, cell)
			}
			columns[i] = append(columns[i], v)
		}
		if len(columns[0]) == pieceRows {
			use(columns)
			for i := range columns {
				columns[i] = columns[i][:0]
			}
		}
		return nil
	})
	if err == nil && len(columns) > 0 && len(columns[0]) > 0 {
		use(columns)
	}
	return err
}

// unpack hands on the packed numbers of a row, as eachPiece does; NULL holds none.
func unpack(row tidegate.Row, use func(columns [][]int64)) error {
	packs, columns := make([][]byte, len(row)), make([][]int64, len(row))
	for i, cell := range row {
		pack, ok := cell.([]byte)
		if packs[i] = pack; !ok && cell != nil || len(pack)%8 != 0 || len(pack) != len(packs[0]) {
			return fmt.Errorf("reading packed numbers: cell %d is a %T of %d bytes, the first has %d", i, cell, len(pack), len(packs[0]))
		}
		columns[i] = make([]int64, 0, min(len(pack)/8, pieceRows))
	}
	for len(packs[0]) > 0 {
		n := min(len(packs[0]), 8*pieceRows)
		for i, pack := range packs {
			list := columns[i][:0]
			for at := 0; at < n; at += 8 {
				list = append(list, int64(binary.BigEndian.Uint64(pack[at:])))
			}
			columns[i], packs[i] = list, pack[n:]
		}
		use(columns)
	}
	return nil
}

// broughtSums waits for the model and is its checksum; false where it was not brought here whole.
func (p *planner) broughtSums(sums *checksums) bool {
	b := p.brought
	if b == nil {
		return false
	}
	<-b.ended
	if b.err != nil {
		p.giveUp() // the server is asked, and tells what is wrong
		return false
	}
	*sums = b.sums
	return true
}

// partnerless finds what has no partner among what was brought here, and makes c ask for it. It
// returns how many rows of the model have one; false when the server has to compare.
func (p *planner) partnerless(c *comparison) (unchanged int64, ok bool) {
	b := p.brought
	p.giveUp()
	found := pair(b.model, b.ledger)
	open := int64(len(found.added) + len(found.gone))
	if c.twins = found.twins; found.twins || open > bringOpen || open > (c.model.rows+c.keys)/pairMost {
		return 0, false
	}
	c.found = &found
	return c.model.rows - int64(len(found.added)), true
}

// scratchFound fills the scratch table with what has no partner.
func (p *planner) scratchFound(ctx context.Context, reading warehouse.Tx, c *comparison) error {
	e, _ := p.w.sql.e.(bringer)
	args := slices.Clone(p.src.args)
	array := func(list []int64) sqltext.Text {
		args = append(args, arrayText(list))
		return "CAST(" + p.w.sql.d.Placeholder(len(args)) + " AS bigint[])"
	}
	where := c.key + " = ANY(" + array(c.found.numbers) + ")"
	if slices.Contains(c.found.numbers, 0) {
		where += " OR " + c.key + " IS NULL"
	}
	if _, err := reading.Exec(ctx, "DROP TABLE IF EXISTS "+string(scratchTable)); err != nil {
		return err
	}
	if _, err := reading.Exec(ctx, e.found(*c, c.some(where), array(c.found.added), array(c.found.gone)), args...); err != nil {
		return fmt.Errorf("reading what has no partner: %w: %w", errAlone, err)
	}
	return nil
}

// arrayText is a list as the server reads one.
func arrayText(list []int64) string {
	text := make([]byte, 0, 2+20*len(list))
	text = append(text, '{')
	for i, v := range list {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, v, 10)
	}
	return string(append(text, '}'))
}
