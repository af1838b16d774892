package analytics

import (
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth bounds maps and lists inside each other; the server takes 64 levels,
// of which the event and its member are two.
const maxDepth = 62

var (
	errDepth  = errors.New("too many maps and lists inside each other")
	errNumber = errors.New("JSON has no such number")
)

// valueError is why a value cannot be encoded, with the path to it.
type valueError struct {
	path  string
	value any
	err   error
}

func (e *valueError) Error() string { return e.path + ": " + e.err.Error() }

// within puts a name before the path of an error on its way up.
func within(name string, value any, err error) error {
	var inner *valueError
	if errors.As(err, &inner) {
		inner.path = name + "." + inner.path
		return inner
	}
	return &valueError{path: name, value: value, err: err}
}

// appendEvent appends the event as JSON; id stands in for a messageId that the
// caller left empty. What the map holds is read now and not
// kept, except by a caller's own json.Marshaler.
func appendEvent(dst []byte, e *event, id []byte) ([]byte, error) {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, e.kind.wire...)
	dst = append(dst, '"')
	if e.messageID != "" {
		dst = appendText(dst, "messageId", e.messageID)
	} else {
		dst = append(append(append(dst, `,"messageId":"`...), id...), '"')
	}
	dst = appendText(dst, "userId", e.userID)
	dst = appendText(dst, "anonymousId", e.anonymousID)
	dst = appendText(dst, "previousId", e.previousID)
	dst = appendText(dst, "groupId", e.groupID)
	dst = appendText(dst, "event", e.event)
	dst = appendText(dst, "name", e.name)
	dst = appendText(dst, "category", e.category)
	dst = append(dst, `,"timestamp":`...)
	dst = appendTime(dst, e.timestamp)
	var err error
	if e.context != nil {
		mark := len(dst)
		dst = append(dst, `,"context":`...)
		start := len(dst)
		if dst, err = appendContext(dst, e.context); err != nil {
			return dst, e.fieldError("Context", err)
		}
		if len(dst) == start+len("{}") {
			dst = dst[:mark]
		}
	}
	for _, m := range [...]struct {
		wire, field string
		value       map[string]any
	}{
		{"properties", "Properties", e.properties},
		{"traits", "Traits", e.traits},
		{"integrations", "Integrations", e.integration},
	} {
		if len(m.value) == 0 {
			continue
		}
		dst = appendKey(dst, m.wire)
		if dst, err = appendMap(dst, m.value, 1); err != nil {
			return dst, e.fieldError(m.field, err)
		}
	}
	return append(dst, '}'), nil
}

func (e *event) fieldError(field string, err error) error {
	var inner *valueError
	if errors.As(err, &inner) {
		return FieldError{Type: e.kind.named, Name: field + "." + inner.path, Value: inner.value, Reason: "cannot be encoded: " + inner.err.Error()}
	}
	return FieldError{Type: e.kind.named, Name: field, Reason: "cannot be encoded: " + err.Error()}
}

// appendContext appends the context, its empty parts left out.
func appendContext(dst []byte, c *Context) ([]byte, error) {
	start := len(dst)
	dst = append(dst, '{')
	dst = appendPart(dst, "app", "name", c.App.Name, "version", c.App.Version, "build", c.App.Build, "namespace", c.App.Namespace)
	dst = appendPart(dst, "campaign", "name", c.Campaign.Name, "source", c.Campaign.Source, "medium", c.Campaign.Medium,
		"term", c.Campaign.Term, "content", c.Campaign.Content)
	dst = appendPart(dst, "device", "id", c.Device.Id, "manufacturer", c.Device.Manufacturer, "model", c.Device.Model,
		"name", c.Device.Name, "type", c.Device.Type, "version", c.Device.Version, "advertisingId", c.Device.AdvertisingID)
	dst = appendPart(dst, "library", "name", c.Library.Name, "version", c.Library.Version)
	dst = appendPart(dst, "os", "name", c.OS.Name, "version", c.OS.Version)
	dst = appendPart(dst, "page", "hash", c.Page.Hash, "path", c.Page.Path, "referrer", c.Page.Referrer,
		"search", c.Page.Search, "title", c.Page.Title, "url", c.Page.URL)
	dst = appendPart(dst, "referrer", "type", c.Referrer.Type, "name", c.Referrer.Name, "url", c.Referrer.URL, "link", c.Referrer.Link)
	dst = appendText(dst, "locale", c.Locale)
	dst = appendText(dst, "timezone", c.Timezone)
	dst = appendText(dst, "userAgent", c.UserAgent)
	if addr, ok := netip.AddrFromSlice(c.IP); ok {
		dst = append(addr.Unmap().AppendTo(append(appendKey(dst, "ip"), '"')), '"')
	}
	var err error
	if dst, err = appendRareParts(dst, c); err != nil {
		return dst, err
	}
	if len(c.Extra) == 0 {
		return dst, nil
	}
	return appendExtra(dst, start, c)
}

// appendRareParts appends the parts that are not all text, and closes the object.
func appendRareParts(dst []byte, c *Context) ([]byte, error) {
	var err error
	if l := c.Location; l != (LocationInfo{}) {
		dst = appendPart(dst, "location", "city", l.City, "country", l.Country, "region", l.Region)
		dst = reopen(dst, "location", l.City+l.Country+l.Region == "")
		for _, n := range [...]struct {
			name  string
			value float64
		}{{"latitude", l.Latitude}, {"longitude", l.Longitude}, {"speed", l.Speed}} {
			if n.value == 0 {
				continue
			}
			if dst, err = appendFloat(appendKey(dst, n.name), n.value, 64); err != nil {
				return dst, within("location", nil, within(n.name, n.value, err))
			}
		}
		dst = append(dst, '}')
	}
	if n := c.Network; n != (NetworkInfo{}) {
		dst = appendPart(dst, "network", "carrier", n.Carrier)
		dst = reopen(dst, "network", n.Carrier == "")
		dst = appendTrue(dst, "bluetooth", n.Bluetooth)
		dst = appendTrue(dst, "cellular", n.Cellular)
		dst = append(appendTrue(dst, "wifi", n.WIFI), '}')
	}
	if s := c.Screen; s != (ScreenInfo{}) {
		dst = append(appendKey(dst, "screen"), '{')
		dst = appendCount(dst, "density", s.Density)
		dst = appendCount(dst, "width", s.Width)
		dst = append(appendCount(dst, "height", s.Height), '}')
	}
	if len(c.Traits) > 0 {
		if dst, err = appendMap(appendKey(dst, "traits"), c.Traits, 2); err != nil {
			return dst, within("traits", nil, err)
		}
	}
	return append(dst, '}'), nil
}

// reopen takes the brace off a part so that more can follow, or opens the part
// when it was empty and therefore not written.
func reopen(dst []byte, name string, empty bool) []byte {
	if empty {
		return append(appendKey(dst, name), '{')
	}
	return dst[:len(dst)-1]
}

// appendExtra appends the members of Extra whose names the object that begins
// at start does not have yet.
func appendExtra(dst []byte, start int, c *Context) ([]byte, error) {
	dst = dst[:len(dst)-1]
	var err error
	for name, value := range c.Extra {
		if c.holds(name) {
			continue
		}
		if len(dst) > start+1 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		if dst, err = appendValue(dst, value, 2); err != nil {
			return dst, within(name, value, err)
		}
	}
	return append(dst, '}'), nil
}

// holds says whether a field of the struct is set under the name.
func (c *Context) holds(name string) bool {
	switch name {
	case "app":
		return c.App != AppInfo{}
	case "campaign":
		return c.Campaign != CampaignInfo{}
	case "device":
		return c.Device != DeviceInfo{}
	case "library":
		return c.Library != LibraryInfo{}
	case "location":
		return c.Location != LocationInfo{}
	case "network":
		return c.Network != NetworkInfo{}
	case "os":
		return c.OS != OSInfo{}
	case "page":
		return c.Page != PageInfo{}
	case "referrer":
		return c.Referrer != ReferrerInfo{}
	case "screen":
		return c.Screen != ScreenInfo{}
	case "ip":
		return len(c.IP) == net.IPv4len || len(c.IP) == net.IPv6len
	case "locale":
		return c.Locale != ""
	case "timezone":
		return c.Timezone != ""
	case "userAgent":
		return c.UserAgent != ""
	case "traits":
		return len(c.Traits) > 0
	}
	return false
}

// appendPart appends an object of texts given as name, value, name, value …;
// empty ones are left out, and so is an object that would be empty.
func appendPart(dst []byte, name string, members ...string) []byte {
	mark := len(dst)
	dst = append(appendKey(dst, name), '{')
	start := len(dst)
	for i := 0; i+1 < len(members); i += 2 {
		dst = appendText(dst, members[i], members[i+1])
	}
	if len(dst) == start {
		return dst[:mark]
	}
	return append(dst, '}')
}

// appendKey appends a name that needs no escape, with a comma when another
// member stands before it.
func appendKey(dst []byte, name string) []byte {
	if last := dst[len(dst)-1]; last != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// appendText appends a member unless its value is empty.
func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(appendKey(dst, name), value)
}

func appendTrue(dst []byte, name string, value bool) []byte {
	if !value {
		return dst
	}
	return append(appendKey(dst, name), "true"...)
}

func appendCount(dst []byte, name string, value int) []byte {
	if value == 0 {
		return dst
	}
	return strconv.AppendInt(appendKey(dst, name), int64(value), 10)
}

// appendValue appends any value. The types that programs use are encoded here,
// all others by encoding/json.
func appendValue(dst []byte, value any, depth int) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, v), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case float64:
		return appendFloat(dst, v, 64)
	case float32:
		return appendFloat(dst, float64(v), 32)
	case time.Time:
		if y := v.Year(); y < 0 || y > 9999 {
			return dst, errors.New("the year lies outside 0 to 9999")
		}
		return appendTime(dst, v), nil
	case map[string]any:
		return appendMap(dst, v, depth+1)
	case Properties:
		return appendMap(dst, v, depth+1)
	case Traits:
		return appendMap(dst, v, depth+1)
	case []any:
		return appendList(dst, v, depth+1, appendValue)
	case []string:
		return appendList(dst, v, depth+1, func(dst []byte, s string, _ int) ([]byte, error) { return appendString(dst, s), nil })
	case []map[string]any:
		return appendList(dst, v, depth+1, func(dst []byte, m map[string]any, depth int) ([]byte, error) { return appendMap(dst, m, depth+1) })
	case []Product:
		return appendList(dst, v, depth+1, appendProduct)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return dst, err
	}
	return append(dst, encoded...), nil
}

func appendMap(dst []byte, m map[string]any, depth int) ([]byte, error) {
	if m == nil {
		return append(dst, "null"...), nil
	}
	if depth > maxDepth {
		return dst, errDepth
	}
	dst = append(dst, '{')
	first := true
	var err error
	for name, value := range m {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, name), ':')
		if dst, err = appendValue(dst, value, depth); err != nil {
			return dst, within(name, value, err)
		}
	}
	return append(dst, '}'), nil
}

func appendList[T any](dst []byte, list []T, depth int, one func([]byte, T, int) ([]byte, error)) ([]byte, error) {
	if list == nil {
		return append(dst, "null"...), nil
	}
	if depth > maxDepth {
		return dst, errDepth
	}
	dst = append(dst, '[')
	var err error
	for i, value := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = one(dst, value, depth); err != nil {
			return dst, within(strconv.Itoa(i), value, err)
		}
	}
	return append(dst, ']'), nil
}

func appendProduct(dst []byte, p Product, _ int) ([]byte, error) {
	dst = append(dst, '{')
	dst = appendText(dst, "id", p.ID)
	dst = appendText(dst, "sku", p.SKU)
	dst = appendText(dst, "name", p.Name)
	dst, err := appendFloat(appendKey(dst, "price"), p.Price, 64)
	if err != nil {
		return dst, within("price", p.Price, err)
	}
	return append(dst, '}'), nil
}

// appendFloat writes a number as encoding/json and JavaScript do: without an
// exponent between 1e-6 and 1e21.
func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, errNumber
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits), nil
}

// appendTime appends the instant in UTC with the digits that it has.
func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

const hexDigits = "0123456789abcdef"

// asItIs are the bytes that a JSON string holds without an escape.
var asItIs = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString appends a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if asItIs[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
