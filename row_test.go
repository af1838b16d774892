package tidegate_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// brokenRows fails after its rows, or when it is closed.
type brokenRows struct {
	tidegate.RowReader
	err, closing error
	left, closed int
}

func (b *brokenRows) Next(ctx context.Context) (tidegate.Row, error) {
	if b.left == 0 && b.err != nil {
		return nil, b.err
	}
	b.left--
	return b.RowReader.Next(ctx)
}

func (b *brokenRows) Close() error { b.closed++; return b.closing }

func TestAllRows(t *testing.T) {
	t.Parallel()
	rows := []tidegate.Row{{int64(1)}, {int64(2)}}
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		err, closing error
		want         []tidegate.Row
	}{
		{"all", nil, nil, rows},
		{"an error in the middle is not the end", broken, nil, nil},
		{"an error of Close", nil, broken, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &brokenRows{RowReader: tidegate.Rows(tidegate.Schema{{Name: "a"}}, rows...), err: c.err, closing: c.closing, left: 1}
			got, err := tidegate.AllRows(t.Context(), r)
			if diff := cmp.Diff(c.want, got); diff != "" || r.closed != 1 || (err != nil) != (c.want == nil) || err != nil && !errors.Is(err, broken) {
				t.Errorf("got %v, closed %d times, %s", err, r.closed, diff)
			}
		})
	}
	stop := errors.New("stop")
	r := &brokenRows{RowReader: tidegate.Rows(tidegate.Schema{{Name: "a"}}, rows...), left: 9}
	if err := tidegate.EachRow(t.Context(), r, func(tidegate.Row) error { return stop }); !errors.Is(err, stop) || r.closed != 1 || r.left != 8 {
		t.Errorf("got %v after %d rows, closed %d times", err, 9-r.left, r.closed)
	}
}
