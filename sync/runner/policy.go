package runner

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// policies are the fields that are not always sent.
type policies map[string]tidegate.FieldPolicy

func policiesOf(m tidegate.Mapping) policies {
	p := policies{}
	for _, f := range m.Fields {
		if f.Policy != "" && f.Policy != tidegate.Always && f.Field != m.Identifier {
			p[f.Field] = f.Policy
		}
	}
	return p
}

// of returns the fields with one of the policies.
func (p policies) of(which ...tidegate.FieldPolicy) map[string]bool {
	fields := map[string]bool{}
	for field, policy := range p {
		if slices.Contains(which, policy) {
			fields[field] = true
		}
	}
	return fields
}

// read returns the fields whose policy looks at what the destination holds.
func (p policies) read() []string {
	return slices.Sorted(maps.Keys(p.of(tidegate.IfEmpty, tidegate.IfNewer)))
}

// kept is a batch without the fields that must not be written.
type kept struct {
	batch destinations.Batch
	at    []int // per item of batch, its place in the whole; nil: all are kept
	whole []destinations.Outcome
	notes []*tidegate.Fault // per item of the whole, what was left as it is; see leftAsIs
}

// obey reads the records of a batch and takes out the fields that their policies
// forbid to write. A record of which nothing is left to write counts as
// delivered: the destination holds what it is to hold.
func (d *driver) obey(ctx, quota context.Context, b destinations.Batch, befores []tidegate.Record) (kept, error) {
	fields := d.policies.read()
	if len(fields) == 0 || b.Items[0].Op == tidegate.Removed || b.Mode == tidegate.Audience || b.Mode == tidegate.Append || b.Mode == tidegate.Insert {
		return kept{batch: b}, nil
	}
	reader, ok := d.opened.Destination.(destinations.Reader)
	if !ok {
		return kept{}, unreadable(d.opened.Sync)
	}
	ids := make([]any, len(b.Items))
	for i := range b.Items {
		ids[i] = b.Items[i].Identifier
	}
	found, err := reader.Read(ctx, b.Object, b.IdentifierField, ids, fields)
	if err == nil && len(found) != len(ids) {
		err = fmt.Errorf("%d records came back for %d identifiers", len(found), len(ids))
	}
	if err != nil {
		return kept{}, fmt.Errorf("reading the records before they are written: %w", err)
	}
	if err := d.takeQuota(quota); err != nil { // the read took the place of the write
		return kept{}, err
	}
	k := kept{batch: b, whole: make([]destinations.Outcome, len(b.Items)), at: []int{}, notes: make([]*tidegate.Fault, len(b.Items))}
	k.batch.Items = nil
	for i, item := range b.Items {
		var before tidegate.Record
		if befores != nil {
			before = befores[i]
		}
		record, left := d.policies.apply(item.Record, before, found[i], b.IdentifierField)
		k.notes[i] = d.policies.leftAsIs(item.Record, record, before, found[i])
		if left == 0 {
			k.whole[i] = destinations.Outcome{Disposition: destinations.Delivered, DestinationID: item.DestinationID}
			continue
		}
		item.Record = record
		k.batch.Items, k.at = append(k.batch.Items, item), append(k.at, i)
	}
	return k, nil
}

// apply returns the part of record that may be written over actual, and how many
// fields beside the identifier it has.
func (p policies) apply(record, before, actual tidegate.Record, identifier string) (tidegate.Record, int) {
	out := make(tidegate.Record, len(record))
	for field, v := range record {
		if actual != nil && field != identifier {
			switch p[field] {
			case tidegate.IfEmpty:
				if !empty(actual[field]) {
					continue
				}
			case tidegate.IfNewer:
				if !Same(actual[field], before[field]) && !Same(actual[field], v) {
					continue
				}
			case tidegate.Always, tidegate.OnCreate:
			}
		}
		out[field] = v
	}
	left := len(out)
	if _, there := out[identifier]; there {
		left--
	}
	if len(out) == len(record) {
		left = max(left, 1) // nothing was taken out: it is written whatever it has
	}
	return out, left
}

// FieldKept is the code of a note on a delivered change: the fields that its subject lists were
// not written.
const FieldKept = "field.kept"

// leftAsIs notes which changed fields of record their policies kept from written, where the
// destination holds another value; nil when there is none.
func (p policies) leftAsIs(record, written, before, actual tidegate.Record) *tidegate.Fault {
	var filled, newer []string
	for _, field := range p.read() {
		v, has := record[field]
		if _, sent := written[field]; sent || !has || Same(actual[field], v) || before != nil && Same(before[field], v) {
			continue
		}
		if p[field] == tidegate.IfEmpty {
			filled = append(filled, field)
		} else {
			newer = append(newer, field)
		}
	}
	var why []string
	if len(filled) > 0 {
		why = append(why, strings.Join(filled, ", ")+" (filled there already)")
	}
	if len(newer) > 0 {
		why = append(why, strings.Join(newer, ", ")+" (changed there since it was confirmed)")
	}
	if why == nil {
		return nil
	}
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: FieldKept, Subject: strings.Join(append(filled, newer...), ", "), Message: "left as it is: " + strings.Join(why, ", "),
		Hint: "the policy of the field says so; `tidegate sync drift` shows what the destination holds",
	}
}

// merge gives every item of the whole batch its outcome.
func (k kept) merge(outcomes []destinations.Outcome) []destinations.Outcome {
	if k.at == nil || len(outcomes) > len(k.at) {
		if k.at != nil {
			return k.whole // more answers than questions: those that were asked stay in doubt
		}
		return outcomes
	}
	for i, o := range outcomes {
		k.whole[k.at[i]] = o
	}
	return k.whole
}

func empty(v any) bool { return v == nil || v == "" }

// Same says whether two values are one for a destination, which may give back as
// text what was written as a number, a truth value or a time.
func Same(a, b any) bool {
	if empty(a) || empty(b) {
		return empty(a) && empty(b)
	}
	x, y := valueText(a), valueText(b)
	if x == y {
		return true
	}
	if n, err := strconv.ParseFloat(x, 64); err == nil {
		m, err := strconv.ParseFloat(y, 64)
		return err == nil && (n == m || math.Abs(n-m) <= 1e-12*math.Max(math.Abs(n), math.Abs(m)))
	}
	if t, err := time.Parse(time.RFC3339Nano, x); err == nil {
		u, err := time.Parse(time.RFC3339Nano, y)
		return err == nil && t.Truncate(time.Millisecond).Equal(u.Truncate(time.Millisecond))
	}
	return false
}

func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []any: // multi-select fields come back joined
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = valueText(e)
		}
		return strings.Join(parts, ";")
	}
	return fmt.Sprint(v)
}
