package tidegate

// Stream is a filtered view of the events that come in, which programs read at
// `/v1/streams/NAME` from any offset that the journal still holds. What is empty
// lets everything through.
type Stream struct {
	// Name is its place in `/v1/streams/NAME`.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Sources are those whose events it shows.
	Sources []string `json:"sources,omitempty"`
	// Types are those that it shows.
	Types []string `json:"types,omitempty" enum:"track,identify,page,screen,group,alias"`
	// Events are names of track events, without regard to letter case.
	Events []string `json:"events,omitempty"`
	// Filter is a condition in CEL, as in `event.properties.total > 100`.
	Filter string `json:"filter,omitempty"`
}
