package runner

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/ledger"
)

// MaxClashes bounds how many changes of one plan may share identifier values
// before the run fails as a whole: such a mapping does not identify.
const MaxClashes = 10_000

// Clash says that a change shares its identifier value with another key's change.
// Without Takes, Taken and Stays it is a mistake of the model: nobody can tell
// which row is meant.
type Clash struct {
	Identifier string
	Keys       []tidegate.Key // the first few that share it
	// Takes are the removals, by ordinal, whose record this write takes over: the
	// record changes hands and is written once instead of removed and written.
	Takes []int64
	// Taken says that this removal's record is taken over by the write By.
	Taken bool
	By    int64
	// Stays says that the identifier that this member leaves is another's now, so that it stays.
	Stays bool
}

func (c Clash) mistake() bool { return !c.Taken && !c.Stays && len(c.Takes) == 0 }

func (c Clash) fault(key tidegate.Key) *tidegate.Fault {
	if !c.mistake() {
		return &tidegate.Fault{
			Action: tidegate.Retry, Code: "identifier.in_use", Subject: "key " + string(key),
			Message: fmt.Sprintf("the record with the identifier %q passes to another key, which is not confirmed yet (keys %s)", c.Identifier, joinKeys(c.Keys)),
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

// sharer is a change that has to do with an identifier value.
type sharer struct {
	ordinal int64
	key     tidegate.Key
	role    role
}

// role is what a change does to the record of an identifier.
type role uint8

const (
	writes  role = iota
	removes      // the record goes
	leaves       // a member moves to another identifier
)

// survey is Survey over a run's stored plan. The payloads are read only where a
// member that moves has its old identifier in one.
func survey(ctx context.Context, led Ledger, runID string, mode tidegate.Mode, identifierField string) (map[int64]Clash, error) {
	return Survey(ctx, func(ctx context.Context) (ledger.PlannedReader, error) {
		if mode == tidegate.Audience {
			return led.Changes(ctx, runID, 0)
		}
		return led.Identities(ctx, runID)
	}, mode, identifierField)
}

// Survey finds the changes of a plan whose identifier values clash. It reads the
// plan once, holding 8 bytes a change, and a second time only when a value may
// repeat. A row that cannot be mapped and one that the mode excludes clash with
// nothing, and neither do events: every version is a record of its own.
func Survey(ctx context.Context, open func(ctx context.Context) (ledger.PlannedReader, error), mode tidegate.Mode, identifierField string) (map[int64]Clash, error) {
	if mode == tidegate.Append {
		return nil, nil
	}
	seed := maphash.MakeSeed()
	var seen hashes
	err := eachIdentifier(ctx, open, mode, identifierField, func(id string, _ sharer) error {
		seen.add(maphash.String(seed, id))
		return nil
	})
	if err != nil {
		return nil, err
	}
	repeated := seen.repeated()
	if len(repeated) == 0 {
		return nil, nil
	}
	groups, members := map[string][]sharer{}, 0
	err = eachIdentifier(ctx, open, mode, identifierField, func(id string, s sharer) error {
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
		groups[id] = append(groups[id], s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	clashes := map[int64]Clash{}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		clashesOf(id, groups[id], clashes)
	}
	return clashes, nil
}

// clashesOf judges the changes that share one identifier value. Removals alone
// repeat one another and do no harm; with one write the record changes hands.
func clashesOf(id string, group []sharer, clashes map[int64]Clash) {
	by := [3][]sharer{}
	for _, s := range group {
		by[s.role] = append(by[s.role], s)
	}
	c := Clash{Identifier: id}
	for _, s := range slices.Concat(by[writes], by[removes], by[leaves]) {
		if len(c.Keys) < 5 {
			c.Keys = append(c.Keys, s.key)
		}
	}
	note := func(s sharer, c Clash) {
		if old, there := clashes[s.ordinal]; there && old.mistake() {
			return // a member may clash by its old identifier and by its new one: a mistake outweighs
		} else if there && !c.mistake() {
			c.Stays, c.Takes = c.Stays || old.Stays, slices.Concat(c.Takes, old.Takes)
		}
		clashes[s.ordinal] = c
	}
	switch {
	case len(by[writes]) > 1:
		// Which row is meant nobody can tell, nor whether the record is to go.
		for _, s := range group {
			note(s, c)
		}
	case len(by[writes]) == 1:
		writer := by[writes][0]
		for _, s := range by[removes] {
			taken := c
			taken.Taken, taken.By = true, writer.ordinal
			note(s, taken)
			c.Takes = append(c.Takes, s.ordinal)
		}
		if len(c.Takes) > 0 {
			note(writer, c)
		}
		c.Takes, c.Stays = nil, true
		for _, s := range by[leaves] {
			note(s, c)
		}
	}
}

func eachIdentifier(ctx context.Context, open func(ctx context.Context) (ledger.PlannedReader, error), mode tidegate.Mode, field string, each func(string, sharer) error) (err error) {
	r, err := open(ctx)
	if err != nil {
		return fmt.Errorf("opening the plan: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return ledger.EachPlanned(ctx, r, func(p *ledger.Planned) error {
		moves := moved(p, mode, field)
		if mapped := p.Fault == nil && p.Identifier != nil; !mapped || !mode.Lets(p.Op) && !moves {
			return nil
		}
		s := sharer{ordinal: p.Ordinal, key: p.Key}
		if p.Op == tidegate.Removed {
			s.role = removes
		}
		if err := each(identifierText(p.Identifier), s); err != nil {
			return err
		}
		if moves {
			s.role = leaves
			return each(identifierText(p.Before[field]), s)
		}
		return nil
	})
}

// hashes are kept by their first bits, so that looking for repeats stays in a
// processor's cache however many there are.
type hashes [256][]uint64

func (h *hashes) add(hash uint64) {
	part := &h[hash>>56]
	*part = append(*part, hash)
}

// repeated returns those that were added more than once.
func (h *hashes) repeated() map[uint64]bool {
	found := map[uint64]bool{}
	var places []uint64 // an open hash table, at most half full; 0 is a free place
	for _, part := range h {
		size := 16
		for size < 2*len(part) {
			size *= 2
		}
		if cap(places) < size {
			places = make([]uint64, size)
		}
		places = places[:size]
		clear(places)
		mask := uint64(size - 1)
		for _, hash := range part {
			kept := max(hash, 1) // 0 and 1 are taken for one: who looks closer compares the values
			at := kept & mask
			for places[at] != 0 && places[at] != kept {
				at = (at + 1) & mask
			}
			if places[at] == kept {
				found[hash] = true
			}
			places[at] = kept
		}
	}
	return found
}

// moved says whether p is a member of an audience that is to be known by another
// identifier. The mode audience lets no other change through.
func moved(p *ledger.Planned, mode tidegate.Mode, field string) bool {
	return mode == tidegate.Audience && p.Op == tidegate.Changed && p.Fault == nil &&
		p.Before[field] != nil && identifierText(p.Before[field]) != identifierText(p.Identifier)
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
