package runner

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/ledger"
)

// MaxClashes bounds how many changes of one plan may share identifier values
// before the run fails as a whole: such a mapping does not identify.
const MaxClashes = 10_000

// Clash says that a change shares its identifier value with another key's change.
type Clash struct {
	Identifier string
	Keys       []tidegate.Key // the first few that share it
	// Late changes are no mistake: another key's record is removed and this one
	// takes its place, so it is sent after the removal with ordinal After.
	Late  bool
	After int64
}

func (c Clash) fault(key tidegate.Key) *tidegate.Fault {
	if c.Late {
		return &tidegate.Fault{
			Action: tidegate.Retry, Code: "identifier.in_use", Subject: "key " + string(key),
			Message: fmt.Sprintf("the record with the identifier %q belonged to another key, whose removal is not confirmed yet (keys %s)", c.Identifier, joinKeys(c.Keys)),
		}
	}
	return &tidegate.Fault{
		Action: tidegate.Reject, Code: "identifier.repeated", Subject: "key " + string(key),
		Message: fmt.Sprintf("the rows with the keys %s would write the same record, identifier %q", joinKeys(c.Keys), c.Identifier),
		Hint:    "make the model return one row per identifier value, or map another identifier",
	}
}

func joinKeys(keys []tidegate.Key) string {
	text := ""
	for i, k := range keys {
		if i > 0 {
			text += " and "
		}
		text += string(k)
	}
	return text
}

// Survey finds the changes of a plan whose identifier values clash. It reads the
// plan once, holding 8 bytes a change, and a second time only when a value may
// repeat. A row that cannot be mapped and one that the mode excludes clash with nothing.
func Survey(ctx context.Context, open func(ctx context.Context) (ledger.PlannedReader, error), mode tidegate.Mode) (map[int64]Clash, error) {
	seed := maphash.MakeSeed()
	var hashes []uint64
	err := eachIdentifier(ctx, open, mode, func(_ *ledger.Planned, id string) error {
		hashes = append(hashes, maphash.String(seed, id))
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(hashes)
	repeated := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			repeated[hashes[i]] = true
		}
	}
	if len(repeated) == 0 {
		return nil, nil
	}
	groups, members := map[string][]ledger.Planned{}, 0
	err = eachIdentifier(ctx, open, mode, func(p *ledger.Planned, id string) error {
		if !repeated[maphash.String(seed, id)] {
			return nil
		}
		if members++; members > MaxClashes {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "identifier.not_unique",
				Message: fmt.Sprintf("more than %d rows share their identifier value with another row", MaxClashes),
				Hint:    "map an identifier that is unique in the model",
			}
		}
		groups[id] = append(groups[id], ledger.Planned{Ordinal: p.Ordinal, Change: tidegate.Change{Op: p.Op, Key: p.Key}})
		return nil
	})
	if err != nil {
		return nil, err
	}
	clashes := map[int64]Clash{}
	for id, group := range groups {
		clashesOf(id, group, clashes)
	}
	return clashes, nil
}

// clashesOf judges the changes that share one identifier value. Several removals
// repeat one another and do no harm.
func clashesOf(id string, group []ledger.Planned, clashes map[int64]Clash) {
	var writes, removals []ledger.Planned
	for _, p := range group {
		if p.Op == tidegate.Removed {
			removals = append(removals, p)
		} else {
			writes = append(writes, p)
		}
	}
	c := Clash{Identifier: id}
	for _, p := range slices.Concat(writes, removals) {
		if len(c.Keys) < 5 {
			c.Keys = append(c.Keys, p.Key)
		}
	}
	switch {
	case len(writes) > 1:
		// Which row is meant nobody can tell, nor whether the record is to go.
		for _, p := range group {
			clashes[p.Ordinal] = c
		}
	case len(writes) == 1 && len(removals) > 1:
		for _, p := range group { // one removal is enough, and only one can be waited for
			clashes[p.Ordinal] = c
		}
	case len(writes) == 1 && len(removals) == 1:
		c.Late, c.After = true, removals[0].Ordinal
		clashes[writes[0].Ordinal] = c
	}
}

func eachIdentifier(ctx context.Context, open func(ctx context.Context) (ledger.PlannedReader, error), mode tidegate.Mode, each func(*ledger.Planned, string) error) (err error) {
	r, err := open(ctx)
	if err != nil {
		return fmt.Errorf("opening the plan: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the plan: %w", err)
		}
		if p.Fault != nil || p.Identifier == nil || !mode.Lets(p.Op) {
			continue
		}
		if err := each(&p, identifierText(p.Identifier)); err != nil {
			return err
		}
	}
}

// identifierText tells values apart as a destination would: 1 and "1" are one.
func identifierText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return fmt.Sprint(v)
}
