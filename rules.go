package tidegate

import "encoding/json"

// TrackingPlan is the declared shape of a source's events.
//
// A property is written short (`string`, `number!`, `string[]`, `date-time`,
// `string|null`; the sign ! makes it required) or as a JSON Schema
// (`{type: string, enum: [a, b]}`), in which `required: true` does the same.
type TrackingPlan struct {
	// Name is how sources refer to it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Version is the plan's own, for people, for generated code and for what is noted of violations.
	Version int `json:"version,omitempty" min:"0"`
	// Actions are what becomes of what does not fit.
	Actions PlanActions `json:"actions,omitzero"`
	// Global holds for every event beside its own rules.
	Global EventRules `json:"global,omitzero"`
	// Events are the tracked events by their names.
	Events map[string]PlannedEvent `json:"events,omitempty"`
	// Identify holds for identify calls; without it they are held to Global only, and so on below.
	Identify *PlannedEvent `json:"identify,omitempty"`
	// Group holds for group calls.
	Group *PlannedEvent `json:"group,omitempty"`
	// Page holds for page calls.
	Page *PlannedEvent `json:"page,omitempty"`
	// Screen holds for screen calls.
	Screen *PlannedEvent `json:"screen,omitempty"`
}

// PlanActions say what becomes of events that do not fit: `mark` notes the
// violations and adds them to the event's context, `block` makes a dead letter of
// it, `route` loads it into another schema, marked.
type PlanActions struct {
	// Violation: a value is missing or wrong. `mark` when empty.
	Violation string `json:"violation,omitempty" enum:"mark,block,route"`
	// UnplannedEvent: the plan does not know the tracked event. `mark` when empty.
	UnplannedEvent string `json:"unplanned_event,omitempty" enum:"allow,mark,block,route"`
	// UnplannedProperty: the plan does not know a property or trait; `omit` takes it out of the event. `allow` when empty.
	UnplannedProperty string `json:"unplanned_property,omitempty" enum:"allow,mark,omit,block,route"`
	// Route is the source into whose schema routed events go.
	Route string `json:"route,omitempty" pattern:"^[a-z][a-z0-9_]{0,62}$"`
}

// EventRules say what an event must look like.
type EventRules struct {
	// Properties of track, page and screen calls.
	Properties map[string]json.RawMessage `json:"properties,omitempty"`
	// Traits of identify and group calls.
	Traits map[string]json.RawMessage `json:"traits,omitempty"`
	// Context holds rules for members of the event's context.
	Context map[string]json.RawMessage `json:"context,omitempty"`
	// Schema is a JSON Schema for the properties, or traits, as a whole, in place of the list.
	Schema json.RawMessage `json:"schema,omitempty"`
}

// PlannedEvent is one event of a tracking plan.
type PlannedEvent struct {
	// Description is for people, and for the comments of generated code.
	Description string `json:"description,omitempty"`
	// The rules; with versions, what all of them share.
	EventRules
	// Actions of this event only; what is empty is as in the plan.
	Actions PlanActions `json:"actions,omitzero"`
	// Versions are the event's versions by their numbers. An event says which it is in
	// `context.protocols.event_version`.
	Versions map[string]EventRules `json:"versions,omitempty"`
	// Accept lists the versions to one of which an event that names none is held: the newest when empty.
	Accept []int `json:"accept,omitempty" min:"1"`
}

// Transform changes events between the journal and whatever reads it. Exactly one
// of Steps and Script is set (a `transforms/NAME.js` file fills Script).
type Transform struct {
	// Name is how dead letters and `transform test` call it.
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Order: transformations run from the lowest to the highest, those of one order by their names.
	Order int `json:"order,omitempty"`
	// Sources whose events it changes; all when empty.
	Sources []string `json:"sources,omitempty"`
	// Events that it changes: names of tracked events, or types such as `identify`; all when empty.
	Events []string `json:"events,omitempty"`
	// Where is a CEL condition over event, source, type and name; only events for which it is true are changed.
	Where string `json:"where,omitempty"`
	// Disabled transformations change nothing.
	Disabled bool `json:"disabled,omitempty"`
	// Steps are done in their order.
	Steps []TransformStep `json:"steps,omitempty"`
	// Script is JavaScript with a function transform(event, meta) that returns the event, or null to drop it. One that imports libraries exports the function.
	Script string `json:"script,omitempty"`
	// Timeout is the processor time that a script may take for one event: `100ms` when empty, at most 5s.
	Timeout string `json:"timeout,omitempty" format:"duration"`
	// MemoryMB is the memory that a script may take for one event: 64 when 0.
	MemoryMB int `json:"memory_mb,omitempty" min:"0" max:"1024"`
}

// Library is JavaScript that the scripts of transformations, and other libraries, import
// by its name (a `libraries/NAME.js` file is one).
type Library struct {
	// Name is how scripts import it.
	Name string `json:"name" pattern:"^[A-Za-z][A-Za-z0-9_-]{0,62}$"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Script is a JavaScript module: what it exports can be imported.
	Script string `json:"script" write:"'export const f = (x) => x'"`
}

// TransformStep is one declarative change; exactly one field is set. Paths such as
// `properties.email`, `context.ip` and `properties.products[].sku` name values of the event.
type TransformStep struct {
	// Drop takes the values at these paths out.
	Drop []string `json:"drop,omitempty"`
	// Rename moves the value at each path to another.
	Rename map[string]string `json:"rename,omitempty"`
	// RenameEvent gives tracked events other names.
	RenameEvent map[string]string `json:"rename_event,omitempty"`
	// Hash replaces values by digests.
	Hash *HashStep `json:"hash,omitempty"`
	// Mask hides parts of values.
	Mask *MaskStep `json:"mask,omitempty"`
	// Set puts fixed values.
	Set map[string]json.RawMessage `json:"set,omitempty"`
	// Compute puts the values of CEL expressions over event, source, type and name. What cannot be computed leaves the event as it is.
	Compute map[string]string `json:"compute,omitempty"`
	// Filter is a CEL condition; events for which it is not true are dropped.
	Filter string `json:"filter,omitempty"`
	// Sample keeps a share of the events.
	Sample *SampleStep `json:"sample,omitempty"`
	// UserAgent adds browser, system and device.
	UserAgent *UserAgentStep `json:"user_agent,omitempty"`
	// GeoIP adds where an address is.
	GeoIP *GeoIPStep `json:"geoip,omitempty"`
}

// HashStep replaces texts and numbers by a digest in hexadecimal digits.
type HashStep struct {
	// Fields are the paths of the values.
	Fields []string `json:"fields" write:"[context.ip]"`
	// Algorithm: `sha256` when empty.
	Algorithm string `json:"algorithm,omitempty" enum:"sha256,sha512,sha1,md5"`
	// Salt is the key of an HMAC; without it anybody can hash a guess and compare.
	Salt string `json:"salt,omitempty" secret:"true"`
	// Normalize makes texts equal that differ in space around them and in letter case only.
	Normalize bool `json:"normalize,omitempty"`
}

// MaskStep hides parts of values.
type MaskStep struct {
	// Fields are the paths of the values.
	Fields []string `json:"fields" write:"[context.ip]"`
	// KeepFirst is how many characters stay at the beginning.
	KeepFirst int `json:"keep_first,omitempty" min:"0"`
	// KeepLast is how many characters stay at the end.
	KeepLast int `json:"keep_last,omitempty" min:"0"`
	// As `email` keeps the first letter and the domain, as `ip` the network (/24, /48).
	As string `json:"as,omitempty" enum:"email,ip"`
}

// SampleStep keeps a share of the events, always the same ones.
type SampleStep struct {
	// Percent of the events are kept.
	Percent float64 `json:"percent" write:"10" min:"0" max:"100"`
	// By `user` keeps all events of a share of the people (userId, else anonymousId), by `message` (when empty) any.
	By string `json:"by,omitempty" enum:"message,user"`
}

// UserAgentStep adds what the user agent says: browser, system, device.
type UserAgentStep struct {
	// From is the path of the user agent: `context.userAgent` when empty.
	From string `json:"from,omitempty"`
	// To is where the result goes: `context.client` when empty.
	To string `json:"to,omitempty"`
}

// GeoIPStep adds where an address is, from a database in MaxMind's format.
type GeoIPStep struct {
	// Database is the file on the server, beside the project or by its whole path.
	Database string `json:"database" write:"GeoLite2-City.mmdb"`
	// From is the path of the address: `context.ip` when empty, else the address of the request.
	From string `json:"from,omitempty"`
	// To is where the result goes: `context.geo` when empty.
	To string `json:"to,omitempty"`
}
