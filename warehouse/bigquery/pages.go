package bigquery

import (
	"context"
	"errors"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"

	"github.com/tidegate/tidegate"
)

// pages are what is left of a result, from one of its pages on. The client's
// iterator keeps the context that it was made in, and ends with its first error;
// so it is made in one of its own, and made anew where a page is asked for again.
type pages struct {
	it      *bq.RowIterator
	columns []column
	life    context.Context //nolint:containedctx // the iterator's; it ends by end
	end     context.CancelCauseFunc
}

// open waits until the job is done and its result can be read from the page of the token on.
func (w *Warehouse) open(ctx context.Context, j *bq.Job, sql, token string) (p *pages, err error) {
	err = w.try(ctx, sql, func(ctx context.Context) error {
		p, err = openOnce(ctx, j, token)
		return err
	})
	return p, err
}

func openOnce(ctx context.Context, j *bq.Job, token string) (*pages, error) {
	life, end := once(context.WithoutCancel(ctx))
	p := &pages{life: life, end: end}
	err := p.within(ctx, func() (err error) {
		p.it, err = j.Read(life)
		return err
	})
	if err != nil {
		end(err)
		return nil, err
	}
	p.columns = columnsOf(p.it.Schema)
	p.it.Schema = asTexts(p.it.Schema)
	info := p.it.PageInfo()
	info.Token, info.MaxSize = token, pageRows
	return p, nil
}

// within calls the iterator in a context of the caller's.
func (p *pages) within(ctx context.Context, call func() error) error {
	unlink := context.AfterFunc(ctx, func() { p.end(context.Cause(ctx)) })
	defer unlink()
	return why(p.life, call())
}

// at is the token of the page that comes next.
func (p *pages) at() string { return p.it.PageInfo().Token }

// ready says that the next row is here already.
func (p *pages) ready() bool { return p.it.PageInfo().Remaining() > 0 }

// next reads a row, and first the page that it is on if that is not here. After
// the last row, which is on what BigQuery calls the last page, row is nil (Invariant 6).
func (p *pages) next(ctx context.Context) (row []bq.Value, err error) {
	if p.ready() {
		return row, p.it.Next(&row)
	}
	err = p.within(ctx, func() error { return p.it.Next(&row) })
	if errors.Is(err, iterator.Done) {
		return nil, nil
	}
	if err != nil && p.life.Err() == nil && !isAnswer(err) { // the answer came whole, and the client cannot read it
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "warehouse.value", Message: "a value cannot be read: " + oneLine(err.Error()),
			Hint: "turn it into text in the query", Err: err,
		}
	}
	return row, err
}

func isAnswer(err error) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer)
}
