package warehousetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// history is what happens to one table: a value that can be played, cut down and read.
type history []step

// step asks for columns and then loads rows that have some of them.
type step struct {
	asked  tidegate.Schema // the key first
	loaded []int           // the columns of asked that the rows have
	rows   []tidegate.Row
	mode   mode
	fate   fate
	// together is how many callers ask for the columns at once, each for a part of them.
	together int
}

type mode uint8

const (
	appended     mode = iota
	replacing         // keyed, the last row of a key wins
	keepExisting      // keyed, the first wins
)

func (m mode) String() string { return [...]string{"append", "replace", "keep existing"}[m] }

// fate is what comes between a load and its end.
type fate uint8

const (
	plain      fate = iota
	repeated        // the same load comes again, with other rows
	broken          // its reader breaks after the last row, then it comes again
	rolledBack      // in a transaction that is rolled back, then it comes again
	inTx            // in a transaction, with the columns asked for there
	raced           // three callers come with it at once
)

func (f fate) String() string {
	return [...]string{"", ", then again with other rows", ", broken and again", ", rolled back and again", ", in a transaction", ", by three callers at once"}[f]
}

// String is what a person reads of a step.
func (s step) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "ensure")
	for _, c := range s.asked {
		fmt.Fprintf(&text, " %q %s,", c.Name, c.Type)
	}
	if s.together > 1 {
		fmt.Fprintf(&text, " by %d callers at once,", s.together)
	}
	fmt.Fprintf(&text, " %s%s:", s.mode, s.fate)
	for _, row := range s.rows {
		text.WriteString(" (")
		for i, c := range s.loaded {
			if i > 0 {
				text.WriteString(", ")
			}
			fmt.Fprintf(&text, "%q: %#v", s.asked[c].Name, row[i])
		}
		text.WriteString(")")
	}
	return text.String()
}

func (h history) String() string {
	lines := make([]string, len(h))
	for i, s := range h {
		lines[i] = fmt.Sprintf("%d. %s", i+1, s)
	}
	return strings.Join(lines, "\n")
}

// families are types whose values meet in one type, so that columns are widened more
// than once before they are strings.
var families = [][]tidegate.Type{
	{typ(tidegate.Int), typ(tidegate.Float)},
	{typ(tidegate.Int), decimal(10, 2), decimal(20, 6), decimal(12, 9)},
	{typ(tidegate.Date), typ(tidegate.Timestamp)},
	{typ(tidegate.JSON), typ(tidegate.Int), typ(tidegate.String)},
	{typ(tidegate.Bool)},
	{typ(tidegate.Bytes), typ(tidegate.String)},
	{typ(tidegate.String)},
}

// keyName is the column that every row has, and by which keyed loads replace.
const keyName = "n"

// imagine makes the history of a table of up to columns columns beside the key.
func imagine(random *rand.Rand, d sqltext.Dialect, columns, steps int) history {
	hostile := hostileNames()
	names := []string{keyName}
	for i := range columns {
		name := fmt.Sprint("c", i)
		if random.IntN(4) == 0 {
			name = hostile[random.IntN(len(hostile))]
		}
		names = append(names, name)
	}
	names = d.Distinct(names)[1:]
	family := make([][]tidegate.Type, len(names))
	for i := range family {
		family[i] = families[random.IntN(len(families))]
	}
	h := make(history, steps)
	for at := range h {
		s := step{asked: tidegate.Schema{{Name: keyName, Type: typ(tidegate.Int)}}, loaded: []int{0}, mode: mode(random.IntN(3)), together: 1}
		for i, name := range names {
			if random.IntN(2) == 0 && len(names) > 1 {
				continue
			}
			if random.IntN(20) == 0 { // another family
				family[i] = families[random.IntN(len(families))]
			}
			s.asked = append(s.asked, tidegate.Column{Name: anyCase(random, d, name), Type: family[i][random.IntN(len(family[i]))]})
			if random.IntN(6) > 0 {
				s.loaded = append(s.loaded, len(s.asked)-1)
			}
		}
		random.Shuffle(len(s.loaded), func(i, j int) { s.loaded[i], s.loaded[j] = s.loaded[j], s.loaded[i] })
		if random.IntN(5) == 0 {
			s.together = 2 + random.IntN(3)
		}
		if random.IntN(2) == 0 {
			s.fate = fate(random.IntN(6))
		}
		s.fill(random, at)
		h[at] = s
	}
	return h
}

// fill gives a step its rows: appended ones have keys of their own, others may meet
// what is there, and each other.
func (s *step) fill(random *rand.Rand, at int) {
	for i := range random.IntN(6) {
		key := int64(1000*(at+1) + i)
		if s.mode != appended {
			key = []int64{random.Int64N(4), 1000 * (1 + random.Int64N(int64(at+1)))}[random.IntN(2)]
		}
		row := make(tidegate.Row, len(s.loaded))
		for j, c := range s.loaded {
			switch {
			case c == 0:
				row[j] = key
			case random.IntN(6) > 0:
				row[j] = someValue(random, s.asked[c].Type)
			}
		}
		s.rows = append(s.rows, row)
	}
}

// anyCase is name as a sender may write it, too: names that differ by case alone are one. An engine that
// keeps lower case only would not give it back.
func anyCase(random *rand.Rand, d sqltext.Dialect, name string) string {
	if upper := strings.ToUpper(name); random.IntN(8) == 0 && sqltext.Same(upper, name) && d.Fit(upper) == upper {
		return upper
	}
	return name
}

// someValue is a value of type t. Floats have few digits, for engines differ in how they write the others as text.
func someValue(random *rand.Rand, t tidegate.Type) any {
	n := random.IntN(1999) - 999 // three digits, as the shortest decimal above takes
	switch t.Kind {
	case tidegate.Bool:
		return n%2 == 0
	case tidegate.Int:
		return int64(n) * int64(n) * int64(n)
	case tidegate.Float:
		return float64(n) + 0.25
	case tidegate.Decimal:
		digits := strconv.Itoa(n)
		if t.Scale > 0 && random.IntN(3) > 0 {
			digits += "." + strings.Repeat("0", random.IntN(t.Scale)) + strconv.Itoa(1+random.IntN(9))
		}
		return tidegate.DecimalText(digits)
	case tidegate.Bytes:
		return []byte{0xff, byte(n), 0}
	case tidegate.Date:
		return tidegate.CalendarDate(n * 20)
	case tidegate.Timestamp:
		at := time.Unix(int64(n)*1_234_567, 0).UTC()
		if random.IntN(2) == 0 {
			at = at.Add(time.Duration(1+random.IntN(999_999)) * time.Microsecond)
		}
		return at
	case tidegate.JSON:
		return []tidegate.JSONText{`{"a":[1,null]}`, `[]`, `"text"`, `null`, `true`, tidegate.JSONText(strconv.Itoa(n))}[random.IntN(6)]
	default:
		return []string{"", "NULL", "it's \"quoted\"", `back\slash`, "ünïcödé 🎉", "text " + strconv.Itoa(n)}[random.IntN(6)]
	}
}
