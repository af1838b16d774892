package tidegate

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Action says what is to be done about a fault, not what went wrong.
type Action uint8

// The four actions. The zero value is Retry because an error of which nothing
// is known is worth another attempt.
const (
	Retry    Action = iota // again later
	Throttle               // again, no sooner than After
	Reject                 // this record never, the others yes
	Halt                   // nothing until someone acts
)

// String returns the lower-case name of a.
func (a Action) String() string {
	switch a {
	case Retry:
		return "retry"
	case Throttle:
		return "throttle"
	case Reject:
		return "reject"
	case Halt:
		return "halt"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Fault is an error that says what is to be done about it. It is made next to
// the call that failed (a connector's classify.go) and travels unchanged; wrap
// it with fmt.Errorf and %w like any error. It never holds a secret.
type Fault struct {
	Action  Action
	Code    string        // stable, dotted: "auth.expired"
	Subject string        // the definition, record or field concerned: "sync crm_contacts", "field email"
	Message string        // what happened, one line
	Hint    string        // what the person who must act should do; empty when nobody must
	After   time.Duration // Throttle only: how long to wait, at least
	Err     error         // the cause, may be nil
}

// Error returns "code: subject: message".
func (f *Fault) Error() string {
	parts := make([]string, 0, 4)
	for _, p := range []string{f.Code, f.Subject, f.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if f.Message == "" && f.Err != nil {
		parts = append(parts, f.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// FaultOf returns the fault inside err, or a Retry fault with the code
// "unclassified" around it. Of joined faults with one code it returns the first, with
// what the others say behind its message. It returns nil for a nil err.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if errors.As(err, &f) {
		return f.withOthers(err)
	}
	return &Fault{Action: Retry, Code: "unclassified", Message: err.Error(), Err: err}
}

// shownFaults is how many joined faults one message tells.
const shownFaults = 5

// withOthers returns f, the first fault inside err, with the messages of the
// faults that err joins to it.
func (f *Fault) withOthers(err error) *Fault {
	var all []error
	for len(all) < 2 { // one alone was joined to nothing: an error of a Close that went well
		var joined interface{ Unwrap() []error }
		if !errors.As(err, &joined) {
			return f
		}
		if all = joined.Unwrap(); len(all) > 0 {
			err = all[0]
		}
	}
	out := *f
	told := map[string]bool{f.Error(): true} // attempts that failed alike are one
	shown := 1
	for i, one := range all {
		var other *Fault
		if !errors.As(one, &other) || other.Code != f.Code || other.Action != f.Action || (other == f) != (i == 0) {
			return f // not a list of problems of one kind
		}
		if told[other.Error()] {
			continue
		}
		told[other.Error()] = true
		if shown++; shown <= shownFaults {
			out.Message += "; " + strings.TrimPrefix(other.Subject+": ", ": ") + other.Message
		}
	}
	if shown > shownFaults {
		out.Message += fmt.Sprintf("; and %d more", shown-shownFaults)
	}
	return &out
}

// Cluster returns the shape of the message: digits, quoted text, hex runs and
// e-mail addresses replaced by placeholders, so that a thousand rejections
// read as three causes. It is computed when a fault is stored.
func (f *Fault) Cluster() string { return f.Code + "|" + messageShape(f.Message) }

func messageShape(s string) string {
	var b strings.Builder
	for len(s) > 0 && b.Len() < 300 {
		c := s[0]
		switch {
		case c == '"' || c == '\'' || c == '`':
			if end := strings.IndexByte(s[1:], c); end >= 0 {
				b.WriteString("<…>")
				s = s[end+2:]
				continue
			}
			b.WriteByte(c)
			s = s[1:]
		case wordByte(c):
			end := 1
			digits, at := c >= '0' && c <= '9', false
			for end < len(s) && (wordByte(s[end]) || s[end] == '@' || s[end] == '-' || (s[end] == '.' && end+1 < len(s) && wordByte(s[end+1]))) {
				digits = digits || s[end] >= '0' && s[end] <= '9'
				at = at || s[end] == '@'
				end++
			}
			if digits || at {
				b.WriteString("<…>")
			} else {
				b.WriteString(s[:end])
			}
			s = s[end:]
		default:
			b.WriteByte(c)
			s = s[1:]
		}
	}
	return b.String()
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
