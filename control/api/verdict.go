package api

import (
	"encoding/json"
	"time"
)

// ExplainedVerdict is what the project's rules (tracking plan, transformations) make
// of an event.
type ExplainedVerdict struct {
	// Fate is kept, dropped, suppressed or dead.
	Fate       string               `json:"fate" enum:"kept,dropped,suppressed,dead"`
	Code       string               `json:"code,omitempty" doc:"Why it would become a dead letter."`
	Reason     string               `json:"reason,omitempty"`
	Route      string               `json:"route,omitempty" doc:"The schema into which it would go, when that is not its source's own."`
	Violations []ExplainedViolation `json:"violations,omitempty"`
	// Event is the event as the rules change it; absent when they leave it as it is.
	Event json.RawMessage `json:"event,omitempty"`
	Logs  []string        `json:"logs,omitempty" doc:"What scripts said."`
}

// ExplainedViolation is one way in which an event breaks its tracking plan.
type ExplainedViolation struct {
	Plan    string `json:"plan"`
	Version int    `json:"version,omitempty"`
	Event   string `json:"event"`
	Kind    string `json:"kind"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Action  string `json:"action"`
}

// TransformTrial is one event to be tried on a transformation.
type TransformTrial struct {
	Source     string
	Event      json.RawMessage
	ReceivedAt time.Time
	RequestIP  string
}
