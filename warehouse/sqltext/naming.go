package sqltext

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// hashDigits is how much of a name's hash a shortened name carries: 40 bits,
// so that two of a million names meet with a chance of about one in two.
const hashDigits = 10

// Fit returns name when it is short enough, otherwise its beginning followed
// by "_" and a hash of the whole name. Where the engine takes not every character, it takes
// all of the result, as a column, a table or a schema. A name that the engine keeps for a system
// column gets a "_" at its end. Equal names always give equal results.
func (d Dialect) Fit(name string) string {
	if _, ok := d.system[fold(name)]; ok {
		name += "_"
	}
	return d.fitTo(name, d.fitName)
}

// plainly returns name as the engine can have it everywhere.
func (d Dialect) plainly(name string, limit int) string {
	if d.plain == nil {
		return name
	}
	plain, changed := d.plain(name)
	if !changed {
		return plain
	}
	return d.cut(plain, limit-hashDigits-1) + "_" + hashOf(name)
}

func hashOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:hashDigits]
}

func (d Dialect) fitTo(name string, limit int) string {
	name = d.plainly(name, limit)
	if d.length(name) <= limit {
		return name
	}
	return d.cut(name, limit-hashDigits-1) + "_" + hashOf(name)
}

// cut returns the longest beginning of name within limit that ends between two characters.
func (d Dialect) cut(name string, limit int) string {
	n := 0
	for i, r := range name {
		if d.maxBytes {
			n += utf8.RuneLen(r)
		} else {
			n++
		}
		if n > limit {
			return name[:i]
		}
	}
	return name
}

// Distinct returns one identifier per name: fitted, and different from every
// other even for an engine that folds case. Of names that fold together the
// first keeps its own and the others get "_2", "_3" in their order; a name
// that is already there is never taken by a numbered one. The same list gives
// the same result.
func (d Dialect) Distinct(names []string) []string {
	out := make([]string, len(names))
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		taken[fold(d.Fit(name))] = true
	}
	used := make(map[string]bool, len(names))
	for i, name := range names {
		fitted := d.Fit(name)
		if !used[fold(fitted)] {
			used[fold(fitted)] = true
			out[i] = fitted
			continue
		}
		for n := 2; ; n++ { // ends: at most len(names) numbers are taken
			suffix := "_" + strconv.Itoa(n)
			candidate := d.fitTo(name, d.fitName-len(suffix)) + suffix
			if f := fold(candidate); !taken[f] && !used[f] {
				used[f] = true
				out[i] = candidate
				break
			}
		}
	}
	return out
}

// Same says whether two names are one identifier to the engines, which fold
// the case of column names.
func Same(a, b string) bool { return fold(a) == fold(b) }

// Fold returns the form of a name under which Same compares.
func Fold(name string) string { return fold(name) }

// fold lowers ASCII letters only: that is what DuckDB compares by, and a wider
// folding would call two columns one that the engine keeps apart.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return strings.Clone(name)
}

// IndexFold finds a column by any case of its name, as every warehouse here
// does; of two that differ in case only, the one that is written like name. It is -1 when there is none.
func IndexFold(s tidegate.Schema, name string) int {
	if i := s.Index(name); i >= 0 {
		return i
	}
	for i := range s {
		if Same(s[i].Name, name) {
			return i
		}
	}
	return -1
}

// CheckDistinct refuses (Halt, code "warehouse.columns") a schema in which two columns have one name.
func CheckDistinct(s tidegate.Schema) error {
	seen := make(map[string]string, len(s))
	for _, c := range s {
		f := Fold(c.Name)
		if first, ok := seen[f]; ok {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.columns", Subject: fmt.Sprintf("column %q", c.Name),
				Message: fmt.Sprintf("the name is the same as %q, for the case of letters does not tell columns apart", first),
				Hint:    "rename one of the two",
			}
		}
		seen[f] = c.Name
	}
	return nil
}
