package replay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/warehouse"
)

// Listed is the dead letters of one source.
type Listed struct {
	Total  int64
	Newest []DeadLetter
	Causes []Cause
}

// Cause is dead letters of one code and, but for numbers and names in it, one reason.
type Cause struct {
	Code, Reason string
	Count        int64
	First, Last  time.Time
	Example      string // offset of the newest
}

// maxReasons bounds the different reasons that are put together to causes.
const maxReasons = 10_000

// List lists the dead letters of a source, or those of one code.
func List(ctx context.Context, wh Warehouse, schema, code string, limit int) (Listed, error) {
	var out Listed
	l, ok, err := lettersOf(ctx, wh, schema, shape.DeadLettersTable)
	if err != nil || !ok {
		return out, err
	}
	where, args := "", []any{}
	if code != "" {
		where, args = " WHERE code = "+string(l.dialect.Placeholder(1)), []any{code}
	}
	byShape := map[string]*Cause{}
	err = warehouse.Each(ctx, wh, "SELECT code, reason, count(*), min(received_at), max(received_at), max("+l.place()+") FROM "+l.table+where+
		" GROUP BY code, reason ORDER BY count(*) DESC LIMIT "+strconv.Itoa(maxReasons), args, func(row tidegate.Row) error {
		c := Cause{Code: str(row[0]), Reason: str(row[1]), Count: num(row[2]), Example: tidegate.Offset{Position: num(row[5])}.String()}
		c.First, _ = row[3].(time.Time)
		c.Last, _ = row[4].(time.Time)
		out.Total += c.Count
		fault := tidegate.Fault{Code: c.Code, Message: c.Reason}
		known := byShape[fault.Cluster()]
		if known == nil {
			byShape[fault.Cluster()] = &c
			return nil
		}
		known.Count += c.Count
		if c.First.Before(known.First) {
			known.First = c.First
		}
		if c.Last.After(known.Last) {
			known.Last, known.Reason, known.Example = c.Last, c.Reason, c.Example
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("reading the causes of dead letters of %s: %w", schema, err)
	}
	for _, c := range byShape {
		out.Causes = append(out.Causes, *c)
	}
	slices.SortFunc(out.Causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason))
	})
	err = warehouse.Each(ctx, wh, "SELECT source, journal_offset, message_id, received_at, code, reason, body FROM "+l.table+where+
		" ORDER BY "+l.place()+" DESC LIMIT "+strconv.Itoa(limit), args, func(row tidegate.Row) error {
		at, _ := row[3].(time.Time)
		out.Newest = append(out.Newest, DeadLetter{Source: str(row[0]), Offset: str(row[1]), MessageID: str(row[2]), ReceivedAt: at, Code: str(row[4]), Reason: str(row[5]), Body: str(row[6])})
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("reading dead letters of %s: %w", schema, err)
	}
	return out, nil
}

// DeadPlaces returns the positions of a source's dead letters, or those of one code.
// More than limit are refused.
func DeadPlaces(ctx context.Context, wh Warehouse, schema, code string, limit int) (map[int64]bool, error) {
	places := map[int64]bool{}
	l, ok, err := lettersOf(ctx, wh, schema, shape.DeadLettersTable)
	if err != nil || !ok {
		return places, err
	}
	where, args := "", []any{}
	if code != "" {
		where, args = " WHERE code = "+string(l.dialect.Placeholder(1)), []any{code}
	}
	err = warehouse.Each(ctx, wh, "SELECT "+l.place()+" FROM "+l.table+where+" LIMIT "+strconv.Itoa(limit+1), args, func(row tidegate.Row) error {
		places[num(row[0])] = true
		return nil
	})
	if err == nil && len(places) > limit {
		err = &tidegate.Fault{Action: tidegate.Halt, Code: "replay.invalid", Subject: "dead letters of " + schema, Message: fmt.Sprintf("there are more than %d", limit), Hint: "name a code"}
	}
	if err != nil {
		return nil, fmt.Errorf("finding dead letters of %s: %w", schema, err)
	}
	return places, nil
}
