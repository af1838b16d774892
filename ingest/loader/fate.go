package loader

import "github.com/tidegate/tidegate"

// Fate is what became of one event.
type Fate uint8

// The fates, which the counts count.
const (
	Waiting    Fate = iota // not read yet, or too long ago to be remembered
	Loaded                 // it has rows
	Duplicate              // an event of the same message id has rows
	Dead                   // it is a dead letter
	Suppressed             // of its person nothing may be kept
	Dropped                // a rule left it out
)

// String returns the word that the books use.
func (f Fate) String() string {
	return [...]string{"waiting", "loaded", "duplicate", "dead", "suppressed", "dropped"}[min(f, Dropped)]
}

// Fates is what became of the events from First on.
type Fates struct {
	First tidegate.Offset
	Of    []Fate
}

// fate notes what is to become of ev once ld is committed.
func (l *Loader) fate(ld *load, ev *tidegate.Event, f Fate) {
	if l.opts.OnFates == nil {
		return
	}
	if n := len(ld.fates); n > 0 {
		if last := &ld.fates[n-1]; last.First.Position+int64(len(last.Of)) == ev.Offset.Position {
			last.Of = append(last.Of, f)
			return
		}
	}
	ld.fates = append(ld.fates, Fates{First: ev.Offset, Of: append(make([]Fate, 0, 64), f)})
}
