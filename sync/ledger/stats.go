package ledger

import (
	"bytes"
	"maps"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
)

// stats are what guards and costs need to know of the changes of a plan.
type stats struct {
	changedFields   int64
	rows, confirmed int64
	fields          map[string]*nulls
}

// nulls counts one field: null now, and not null before.
type nulls struct{ now, before int64 }

// add counts one change. Payloads are canonical JSON objects, so that their
// members can be compared as text, in order.
func (s *stats) add(r *planRow) {
	if s.fields == nil {
		s.fields = map[string]*nulls{}
	}
	if r.fault != nil {
		return
	}
	before, after := []byte(r.before), []byte(r.after)
	op := tidegate.Op(r.op)
	if op != tidegate.Removed {
		s.rows++
		if len(before) > 0 {
			s.confirmed++
		}
	}
	nb, vb, before := member(before)
	na, va, after := member(after)
	for nb != nil || na != nil {
		order := bytes.Compare(na, nb)
		switch {
		case nb == nil || na != nil && order < 0:
			s.changedFields++
			s.count(op, na, va, nil)
			na, va, after = member(after)
		case na == nil || order > 0:
			s.changedFields++
			nb, vb, before = member(before)
		default:
			if !bytes.Equal(va, vb) {
				s.changedFields++
			}
			s.count(op, na, va, vb)
			nb, vb, before = member(before)
			na, va, after = member(after)
		}
	}
}

func (s *stats) count(op tidegate.Op, name, now, before []byte) {
	if op == tidegate.Removed {
		return
	}
	n := s.fields[string(name)]
	if n == nil {
		n = &nulls{}
		s.fields[string(name)] = n
	}
	if string(now) == "null" {
		n.now++
	}
	if len(before) > 0 && string(before) != "null" {
		n.before++
	}
}

// fill writes what was counted into the summary.
func (s *stats) fill(sum *Summary) {
	sum.ChangedFields = s.changedFields
	for _, name := range slices.Sorted(maps.Keys(s.fields)) {
		n := s.fields[name]
		if n.now == 0 {
			continue // no null: nothing that a guard could ask for
		}
		field := name
		if v, err := model.ParseJSON([]byte(name)); err == nil {
			field, _ = v.(string)
		}
		sum.Nulls = append(sum.Nulls, FieldNulls{Field: field, Now: n.now, Rows: s.rows, Before: s.confirmed - n.before, Confirmed: s.confirmed})
	}
}

// member splits the first member off a canonical JSON object or what is left of
// one: its name with quotes, its value and the rest. A nil name is the end.
func member(text []byte) (name, value, rest []byte) {
	if len(text) < 2 || text[0] == '}' {
		return nil, nil, nil
	}
	text = text[1:] // { or ,
	if text[0] == '}' {
		return nil, nil, nil
	}
	end := quoted(text)
	if end < 0 || end >= len(text) {
		return nil, nil, nil
	}
	name, text = text[:end], text[end+1:]
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := quoted(text[i:])
			if end < 0 {
				return nil, nil, nil
			}
			i += end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return name, text[:i], text[i:]
			}
			depth--
		case ',':
			if depth == 0 {
				return name, text[:i], text[i:]
			}
		}
	}
	return nil, nil, nil
}

// quoted is the length of the JSON string at the start of text, -1 for none.
func quoted(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
