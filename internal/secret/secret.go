// Package secret holds the only type in which secrets travel, and the files in which
// they may lie.
//
// Invariant 9: a secret never appears in a log line, an error, a URL, an export
// or an API answer; every textual form of a Secret is "***". A file of a secret is
// readable by its owner only. It does not encrypt anything (control/vault does).
// Values are immutable and safe for concurrent use.
package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

const mask = "***"

// Secret is a string that only Reveal shows. Its zero value is empty.
type Secret struct{ value string }

// New wraps value.
func New(value string) Secret { return Secret{value: value} }

// Reveal returns the value; call it only where the value leaves for its owner.
func (s Secret) Reveal() string { return s.value }

// Empty says whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

// String implements fmt.Stringer with a mask.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return mask
}

// GoString implements fmt.GoStringer with a mask.
func (s Secret) GoString() string { return s.String() }

// Format implements fmt.Formatter with a mask for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// LogValue implements slog.LogValuer with a mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON masks the value.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText masks the value (YAML, maps' keys, flags).
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads a JSON string.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &s.value); err != nil {
		return fmt.Errorf("reading a secret: it must be a string")
	}
	return nil
}
