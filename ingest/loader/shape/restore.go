package shape

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
)

// SetAside is a value that found no place in its column, as a discard tells of it.
type SetAside struct {
	Text string // column_value
	Type string // value_type
}

// Restored is what became of a value that was set aside.
type Restored struct {
	Value any // for a tidegate.Row
	// Unmapped is the row's `_unmapped` without the value; empty when nothing is left. It
	// keeps a value of which the column holds less than was sent.
	Unmapped []byte
}

// Restore finds the value in its row's `_unmapped`, under the name of its column, and makes
// of it what a column of type t holds; false when it does not fit there.
func Restore(t tidegate.Type, column string, unmapped []byte, was SetAside) (Restored, bool) {
	var members []Member
	if len(unmapped) > 0 {
		members, _ = Members(unmapped) // no object is no help: the discard says enough
	}
	at, v := -1, was.value()
	for i, m := range members {
		if m.Key != column && !strings.HasPrefix(m.Key, column+"#") {
			continue
		}
		exact, ok := valueOf(m.Value)
		if ok && string(exact.AppendText(nil)) == was.Text {
			at, v = i, exact
			break
		}
	}
	if v.Kind == tidegate.Unknown {
		return Restored{}, false
	}
	fitted, reason := fit(t, v)
	if reason != "" {
		return Restored{}, false
	}
	out := Restored{Value: fitted.Any(), Unmapped: unmapped}
	if at >= 0 && !fitted.rounded {
		members = append(members[:at], members[at+1:]...)
		out.Unmapped = nil
		if len(members) > 0 {
			out.Unmapped = Object(members)
		}
	}
	return out, true
}

// Sharpen finds what was sent where a column of type from held less (a number that a
// double rounds, a time in nanoseconds), for a column that now is of type to and holds
// cell as its text; false when the column holds all.
func Sharpen(from, to tidegate.Type, column string, unmapped []byte, cell string) (Restored, bool) {
	members, err := Members(unmapped)
	if err != nil {
		return Restored{}, false
	}
	for i, m := range members {
		if m.Key != column && !strings.HasPrefix(m.Key, column+"#") {
			continue
		}
		exact, ok := valueOf(m.Value)
		if !ok {
			continue
		}
		if from.Kind == tidegate.Float && m.Value[0] == '"' { // where JSON has no such number, its digits are a text
			digits := m.Value[1 : len(m.Value)-1]
			if _, ok := DigitsOf(string(digits)); !ok {
				continue
			}
			exact = inferLiteral(digits)
		}
		held, reason := fit(from, exact)
		if reason != "" || !held.rounded || !held.is(cell) {
			continue
		}
		fitted, reason := fit(to, exact)
		if reason != "" || fitted.rounded {
			continue
		}
		out := Restored{Value: fitted.Any()}
		if members = append(members[:i], members[i+1:]...); len(members) > 0 {
			out.Unmapped = Object(members)
		}
		return out, true
	}
	return Restored{}, false
}

// is says whether a cell that holds v, rounded, has become cell as text or JSON.
func (v Value) is(cell string) bool {
	if v.Kind == tidegate.Float {
		f, err := strconv.ParseFloat(cell, 64)
		return err == nil && f == v.Float
	}
	micros, _, ok := parseISO([]byte(strings.Trim(cell, `"`)))
	return ok && v.Kind == tidegate.Timestamp && micros == v.Int
}

// value is the value as far as the discard tells.
func (was SetAside) value() Value {
	text := []byte(was.Text)
	switch was.Type {
	case tidegate.Int.String(), tidegate.Float.String(), "number", tidegate.Bool.String():
		if v, ok := valueOf(text); ok {
			return v
		}
	case tidegate.JSON.String():
		return Value{Kind: tidegate.JSON, Text: text, raw: text}
	}
	return inferString(text, appendQuoted(nil, text))
}

// valueOf types a JSON text as the loader does.
func valueOf(text []byte) (Value, bool) {
	p := parser{b: text}
	switch c := p.peek(); c {
	case 0:
		return Value{}, false
	case '"':
		decoded, err := p.str()
		return inferString(decoded, text), err == nil && p.end() == nil
	case '{', '[':
		compact, err := appendCompact(nil, text)
		return Value{Kind: tidegate.JSON, Text: compact, raw: text}, err == nil
	}
	raw, err := p.skip(1)
	if err != nil || p.end() != nil {
		return Value{}, false
	}
	return inferLiteral(raw), true
}

// Digits are how many digits a number needs on either side of the point.
type Digits struct {
	Whole, Scale int
	// Float: a double holds it as it was written.
	Float bool
}

// DigitsOf reads a JSON number; false when text is none.
func DigitsOf(text string) (Digits, bool) {
	p := parser{b: []byte(text)}
	if c := p.peek(); c != '-' && !digit(c) || p.number() != nil || p.end() != nil {
		return Digits{}, false
	}
	d := parseDecimal(p.b)
	f, ok := d.float()
	return Digits{Whole: max(0, len(d.digits)+d.exponent), Scale: max(0, -d.exponent), Float: ok && d.equalsFloat(f)}, true
}

// Own says whether the loader itself fills a column of this name in some event table;
// its type is not for anybody to change.
func Own(name string) bool {
	for _, columns := range []tidegate.Schema{commonColumns(), layoutOf(EventsTable, Native).columns, usersColumns(RudderStack)} {
		if columns.Index(name) >= 0 {
			return true
		}
	}
	return name == "event_text"
}

// Schema is the warehouse schema of a source's tables.
func (o Options) Schema(source string) string { return New(o, nil).schemaName(source) }
