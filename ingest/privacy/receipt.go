package privacy

import "time"

// Receipt says, place by place, what a deletion found, what it deleted and what is
// left until when. It names no person.
type Receipt struct {
	// People is how many ids were asked for, Linked how many anonymous ids identify calls
	// add to them.
	People int `json:"people"`
	Linked int `json:"linked"`
	// Below is the offset of the journal below which events of these people are read
	// by nobody any more.
	Below   string    `json:"below,omitempty"`
	Places  []Place   `json:"places"`
	Remains []Remains `json:"remains,omitempty"`
	DoneAt  time.Time `json:"done_at,omitzero"`
}

// Place is one place where something was looked for.
type Place struct {
	Kind    string `json:"kind" enum:"journal,warehouse,forward,destination,ledger"`
	Name    string `json:"name"`
	Found   int64  `json:"found"`
	Deleted int64  `json:"deleted"`
	// Left is what a look afterwards still found.
	Left       int64     `json:"left"`
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	Note       string    `json:"note,omitempty"`
}

// Remains is what is left, why, and until when.
type Remains struct {
	Place string    `json:"place"`
	What  string    `json:"what"`
	Until time.Time `json:"until,omitzero"`
}

// At returns the place called name, adding it when it is new.
func (r *Receipt) At(kind, name string) *Place {
	for i := range r.Places {
		if p := &r.Places[i]; p.Kind == kind && p.Name == name {
			return p
		}
	}
	r.Places = append(r.Places, Place{Kind: kind, Name: name})
	return &r.Places[len(r.Places)-1]
}

// Left is how much was found again after it was deleted.
func (r *Receipt) Left() (n int64) {
	for _, p := range r.Places {
		n += p.Left
	}
	return n
}
