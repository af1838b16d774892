package warehousetest

import (
	"context"
	"slices"
)

// shrinkPlays bounds how often a history is played to find a shorter one.
const shrinkPlays = 300

// shrink returns a history that goes wrong as h does, with as few steps, columns and rows
// as it finds, and how that one goes wrong.
func (p *player) shrink(ctx context.Context, h history, err error) (history, error) {
	plays := 0
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range h.smaller() {
			if plays++; plays > shrinkPlays || ctx.Err() != nil {
				return h, err
			}
			if again := p.play(ctx, candidate); again != nil && ctx.Err() == nil {
				h, err, smaller = candidate, again, true
				break
			}
		}
	}
	return h, err
}

// smaller are histories with something left out, those with the most left out first.
func (h history) smaller() []history {
	var all []history
	for size := len(h) / 2; size > 0; size /= 2 {
		for from := 0; from < len(h); from += size {
			all = append(all, slices.Concat(h[:from], h[min(len(h), from+size):]))
		}
	}
	for i, s := range h {
		with := func(changed step) {
			all = append(all, slices.Concat(h[:i], history{changed}, h[i+1:]))
		}
		for size := len(s.asked) / 2; size > 0; size /= 2 {
			for from := 1; from < len(s.asked); from += size {
				with(s.withoutColumns(from, min(len(s.asked), from+size)))
			}
		}
		for from := range s.rows {
			changed := s
			changed.rows = slices.Concat(s.rows[:from], s.rows[from+1:])
			with(changed)
		}
		if s.together > 1 {
			changed := s
			changed.together = 1
			with(changed)
		}
		if s.fate != plain {
			changed := s
			changed.fate = plain
			with(changed)
		}
	}
	return all
}

// withoutColumns leaves the columns [from, to) out of what is asked for and of the rows.
func (s step) withoutColumns(from, to int) step {
	left := s
	left.asked = slices.Concat(s.asked[:from], s.asked[to:])
	left.loaded = nil
	var kept []int // of the values of a row
	for i, c := range s.loaded {
		switch {
		case c < from:
			left.loaded = append(left.loaded, c)
		case c >= to:
			left.loaded = append(left.loaded, c-(to-from))
		default:
			continue
		}
		kept = append(kept, i)
	}
	left.rows = nil
	for _, row := range s.rows {
		values := row[:0:0]
		for _, i := range kept {
			values = append(values, row[i])
		}
		left.rows = append(left.rows, values)
	}
	return left
}
