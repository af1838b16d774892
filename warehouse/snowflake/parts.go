package snowflake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/go-json-experiment/json/jsontext"
	sf "github.com/snowflakedb/gosnowflake"

	"github.com/tidegate/tidegate"
)

// fetches is how often a part is fetched at most, when it breaks off in the middle.
const fetches = 4

// parts are the parts of a result, of which one is held at a time. A part is a
// stream of Arrow batches, or of rows of JSON, which statements that are no query
// give; the first part of a JSON result comes with the answer.
type parts struct {
	w       *Warehouse
	on      on
	loader  sf.ArrowStreamLoader
	columns []column

	started bool
	batches []sf.ArrowStreamBatch
	at      int // the part that is read; its batches that were read
	taken   int

	rows [][]*string // of JSON, the current one first

	stream io.ReadCloser
	arrow  *ipc.Reader
	json   *jsontext.Decoder
	record arrow.RecordBatch
	row    int // of record
}

// ready says whether there is a row.
func (p *parts) ready() bool {
	return len(p.rows) > 0 || p.record != nil && p.row < int(p.record.NumRows())
}

// advance goes to the next row.
func (p *parts) advance() {
	if p.record != nil {
		p.row++
		return
	}
	p.rows = p.rows[1:]
}

// cell is a value of the current row.
func (p *parts) cell(i int) (any, error) {
	if p.record != nil {
		return p.columns[i].fromArrow(p.record.Column(i), p.row)
	}
	if i >= len(p.rows[0]) || p.rows[0][i] == nil {
		return nil, nil
	}
	return p.columns[i].fromText(*p.rows[0][i])
}

// fetch gets the next rows; io.EOF after the last.
func (p *parts) fetch(ctx context.Context) error {
	if !p.started {
		p.started = true
		p.rows = p.loader.JSONData()
		var err error
		if p.batches, err = p.loader.GetBatches(); err != nil {
			return p.w.classify(ctx, p.on, err, "")
		}
	}
	for !p.ready() {
		if err := p.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step reads on in the current part, or opens the next.
func (p *parts) step(ctx context.Context) error {
	if p.stream == nil && p.at == len(p.batches) {
		return io.EOF
	}
	for try := 1; ; try++ {
		err := p.read(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, io.EOF): // of the part
			p.close()
			p.at, p.taken = p.at+1, 0
			return nil
		case context.Cause(ctx) != nil:
			return fmt.Errorf("reading rows: %w", context.Cause(ctx))
		}
		p.close()
		var fresh error
		if try == fetches {
			return p.w.classify(ctx, p.on, err, "")
		}
		if p.batches, fresh = p.loader.GetBatches(); fresh != nil {
			return p.w.classify(ctx, p.on, fresh, "")
		}
	}
}

// read gets the next rows of the part, which it opens where it left off.
func (p *parts) read(ctx context.Context) error {
	if p.stream == nil {
		if err := p.open(ctx); err != nil {
			return err
		}
		for range p.taken {
			if err := p.take(); err != nil {
				return fmt.Errorf("reading a part of the result again: %w", broken(err))
			}
		}
	}
	if err := p.take(); err != nil {
		return err
	}
	p.taken++
	return nil
}

func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// open fetches a part and looks what it is: rows of JSON begin with a bracket.
func (p *parts) open(ctx context.Context) error {
	stream, err := p.batches[p.at].GetStream(ctx)
	if err != nil {
		return fmt.Errorf("fetching a part of the result: %w", broken(err))
	}
	p.stream = stream
	buffered := bufio.NewReader(stream)
	first, err := buffered.Peek(1)
	if err != nil {
		return fmt.Errorf("fetching a part of the result: %w", broken(err))
	}
	if first[0] == '[' { // rows with commas between them, and nothing around
		p.json = jsontext.NewDecoder(io.MultiReader(bytes.NewReader([]byte("[")), buffered, bytes.NewReader([]byte("]"))))
		_, err = p.json.ReadToken()
	} else {
		p.arrow, err = ipc.NewReader(buffered)
	}
	if err != nil {
		return fmt.Errorf("reading a part of the result: %w", broken(err))
	}
	return nil
}

// take reads the next batch, or the next row of JSON; io.EOF after the last.
func (p *parts) take() error {
	p.record = nil
	if p.json != nil {
		return p.takeRow()
	}
	if !p.arrow.Next() {
		if err := p.arrow.Err(); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading a part of the result: %w", err)
		}
		return io.EOF
	}
	p.record, p.row = p.arrow.RecordBatch(), 0
	if int(p.record.NumCols()) != len(p.columns) {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.engine", Message: fmt.Sprintf("a part of the result has %d columns, and the result %d", p.record.NumCols(), len(p.columns))}
	}
	return nil
}

func (p *parts) takeRow() error {
	if p.json.PeekKind() == ']' {
		return io.EOF
	}
	if _, err := p.json.ReadToken(); err != nil {
		return fmt.Errorf("reading a row: %w", broken(err))
	}
	row := make([]*string, 0, len(p.columns))
	for p.json.PeekKind() != ']' {
		token, err := p.json.ReadToken()
		if err != nil {
			return fmt.Errorf("reading a row: %w", broken(err))
		}
		if token.Kind() == 'n' {
			row = append(row, nil)
			continue
		}
		text := token.String()
		row = append(row, &text)
	}
	if _, err := p.json.ReadToken(); err != nil {
		return fmt.Errorf("reading a row: %w", broken(err))
	}
	p.rows = append(p.rows[:0:0], row)
	return nil
}

// close gives up the part that is open.
func (p *parts) close() {
	p.record = nil
	if p.arrow != nil {
		p.arrow.Release()
	}
	if p.stream != nil {
		_ = p.stream.Close() // its rows are read, or given up
	}
	p.arrow, p.json, p.stream, p.rows = nil, nil, nil, nil
}
