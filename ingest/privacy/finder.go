package privacy

import (
	"cmp"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
)

// Report says where personal data was found. It holds no value.
type Report struct {
	Looked   int64   `json:"looked" doc:"Events looked at."`
	Skipped  int64   `json:"skipped" doc:"Events of the period that were left out, because as many as were asked for were looked at."`
	Findings []Found `json:"findings" doc:"Most frequent first."`
}

// Found is one kind of personal data in one property.
type Found struct {
	Source string `json:"source"`
	Event  string `json:"event" doc:"Name of a track event, or the type."`
	Path   string `json:"path" doc:"properties.note; items of lists are []."`
	Kind   string `json:"kind" enum:"email,phone,card,iban,ssn,ip"`
	Count  int64  `json:"count"`
}

// maxFindings bounds a report; strangers choose names.
const maxFindings = 2000

// Finder looks for personal data. The zero Finder has looked at nothing.
type Finder struct {
	looked, skipped int64
	found           map[Found]int64
}

// Skip counts an event that is not looked at.
func (f *Finder) Skip() { f.skipped++ }

// Look looks at one event. What belongs where it is (a user's own traits, the ids,
// the address that the context names) is not reported.
func (f *Finder) Look(source, name string, kind tidegate.EventType, body []byte) {
	f.looked++
	if f.found == nil {
		f.found = map[Found]int64{}
	}
	if name == "" {
		name = string(kind)
	}
	var d scan.Document
	if d.Scan(body, maxBatch) != nil {
		return
	}
	seen := map[Found]bool{}
	f.object(scan.Value(body), "", func(path, text string) {
		if expected(kind, path) {
			return
		}
		for _, what := range kindsOf(text) {
			at := Found{Source: source, Event: name, Path: path, Kind: what}
			if _, known := f.found[at]; !seen[at] && (known || len(f.found) < maxFindings) {
				f.found[at]++
				seen[at] = true
			}
		}
	})
}

// Report returns what was found.
func (f *Finder) Report() Report {
	r := Report{Looked: f.looked, Skipped: f.skipped, Findings: []Found{}}
	for at, n := range f.found {
		at.Count = n
		r.Findings = append(r.Findings, at)
	}
	slices.SortFunc(r.Findings, func(a, b Found) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return r
}

const maxDepth = 32

// object calls use for every text of v, and for whole numbers as text.
func (f *Finder) object(v scan.Value, path string, use func(path, text string)) {
	var walk func(v scan.Value, path string, depth int)
	walk = func(v scan.Value, path string, depth int) {
		switch {
		case depth > maxDepth:
		case v.IsObject():
			for name, value := range v.Members {
				at := string(name)
				if len(at) > 100 {
					at = at[:100]
				}
				if path != "" {
					at = path + "." + at
				}
				walk(value, at, depth+1)
			}
		case v.IsArray():
			for value := range v.Items {
				walk(value, path+"[]", depth+1)
			}
		case v.IsString():
			text, _ := v.Text()
			use(path, string(text))
		case v.IsNumber():
			use(path, string(v))
		}
	}
	walk(v, path, 0)
}

var (
	ownPaths    = []string{"userId", "anonymousId", "previousId", "messageId", "groupId", "type", "event", "timestamp", "sentAt", "originalTimestamp", "writeKey", "channel", "context.ip"}
	traitsPaths = []string{"traits.", "context.traits.", "userProperties."}
)

// expected says that personal data belongs at path.
func expected(kind tidegate.EventType, path string) bool {
	if slices.Contains(ownPaths, path) || strings.HasPrefix(path, "context.device.") || strings.HasPrefix(path, "context.library.") || strings.HasPrefix(path, "context.userAgent") {
		return true
	}
	for _, prefix := range traitsPaths {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			rest = strings.ToLower(rest)
			return kind == tidegate.Identify && (strings.Contains(rest, "email") || strings.Contains(rest, "mail") || strings.Contains(rest, "phone"))
		}
	}
	return false
}

var (
	email = regexp.MustCompile(`(?i)(^|[^a-z0-9._%+-])[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){0,4}\.[a-z]{2,24}($|[^a-z0-9-])`)
	phone = regexp.MustCompile(`(^|[^0-9A-Za-z])(\+[1-9][0-9 ().-]{7,18}[0-9]|\([0-9]{3}\) ?[0-9]{3}[ -][0-9]{4}|[0-9]{3}-[0-9]{3}-[0-9]{4})($|[^0-9A-Za-z])`)
	ssn   = regexp.MustCompile(`(^|[^0-9-])([0-8][0-9]{2})-([0-9]{2})-([0-9]{4})($|[^0-9-])`)
	card  = regexp.MustCompile(`(^|[^0-9A-Za-z.])([0-9](?:[ -]?[0-9]){12,18})($|[^0-9A-Za-z.])`)
	iban  = regexp.MustCompile(`(^|[^0-9A-Za-z])([A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?)($|[^0-9A-Za-z])`)
	addr  = regexp.MustCompile(`(^|[^0-9A-Za-z.:])([0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})($|[^0-9A-Za-z.:])`)
)

// maxText is how much of one text is looked at.
const maxText = 4096

// kindsOf says what personal data a text holds.
func kindsOf(text string) []string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	if len(text) < 6 || strings.IndexFunc(text, func(r rune) bool { return r == '@' || r == ':' || unicode.IsDigit(r) }) < 0 {
		return nil
	}
	var kinds []string
	if strings.ContainsRune(text, '@') && email.MatchString(text) {
		kinds = append(kinds, "email")
	}
	if proven(card, text, luhn) {
		kinds = append(kinds, "card")
	}
	if proven(iban, text, mod97) {
		kinds = append(kinds, "iban")
	}
	if m := ssn.FindStringSubmatch(text); m != nil && m[2] != "000" && m[2] != "666" && m[3] != "00" && m[4] != "0000" {
		kinds = append(kinds, "ssn")
	}
	if phone.MatchString(text) && !slices.Contains(kinds, "card") {
		kinds = append(kinds, "phone")
	}
	if proven(addr, text, isAddress) {
		kinds = append(kinds, "ip")
	}
	return kinds
}

// proven says whether the second group of a match proves itself.
func proven(pattern *regexp.Regexp, text string, proves func(string) bool) bool {
	for _, m := range pattern.FindAllStringSubmatch(text, 20) {
		if proves(m[2]) {
			return true
		}
	}
	return false
}

// luhn checks the check digit of a card's number.
func luhn(text string) bool {
	sum, n := 0, 0
	for i := len(text) - 1; i >= 0; i-- {
		c := text[i]
		if c == ' ' || c == '-' {
			continue
		}
		d := int(c - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	first := strings.TrimLeft(text, " -")[0]
	return n >= 13 && n <= 19 && sum%10 == 0 && first >= '2' && first <= '6'
}

// mod97 checks the check digits of an IBAN.
func mod97(text string) bool {
	s := strings.ReplaceAll(text, " ", "")
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	var digits strings.Builder
	for _, r := range s[4:] + s[:4] {
		if r >= '0' && r <= '9' {
			digits.WriteRune(r)
		} else {
			n := int(r-'A') + 10
			digits.WriteByte(byte('0' + n/10))
			digits.WriteByte(byte('0' + n%10))
		}
	}
	n, ok := new(big.Int).SetString(digits.String(), 10)
	return ok && new(big.Int).Mod(n, big.NewInt(97)).Int64() == 1
}

// isAddress leaves out what is written like an address and is none: a version, a time.
func isAddress(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && !a.IsUnspecified() && !a.IsLoopback() && (a.Is4() || strings.Count(text, ":") >= 3)
}
