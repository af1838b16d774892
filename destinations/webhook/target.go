package webhook

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// target is a URL with placeholders: literals and names alternate, a literal
// first and last.
type target struct {
	base     *url.URL // of the first literal
	literals []string
	names    []string
}

// parseTarget parses a URL template. Its errors do not quote the URL.
func parseTarget(text string) (target, error) {
	var t target
	rest := text
	for {
		before, after, open := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return target{}, errors.New("the URL has a } without a {")
		}
		t.literals = append(t.literals, before)
		if !open {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		if !closed {
			return target{}, errors.New("the URL has a { without a }")
		}
		if name != "identifier" && name != "destination_id" && name != "op" && (!strings.HasPrefix(name, "record.") || name == "record.") {
			return target{}, errors.New("a placeholder of the URL is unknown; known are {identifier}, {destination_id}, {op} and {record.FIELD}")
		}
		t.names = append(t.names, name)
		rest = behind
	}
	var err error
	t.base, err = url.Parse(t.literals[0])
	switch {
	case err != nil:
		return target{}, errors.New("the URL cannot be read")
	case t.base.Scheme != "https" && t.base.Scheme != "http":
		return target{}, errors.New("the URL must begin with https:// or http://")
	case t.base.Hostname() == "":
		return target{}, errors.New("the URL has no host")
	case t.base.User != nil:
		return target{}, errors.New("the URL holds a user; use auth for that")
	case t.base.Fragment != "" || strings.Contains(text, "#"):
		return target{}, errors.New("the URL has a fragment, which is never sent")
	case len(t.names) > 0 && t.base.Path == "" && t.base.RawQuery == "" && !t.base.ForceQuery:
		// Otherwise a record's value would go on with the host's name.
		return target{}, errors.New("placeholders of a URL stand behind the host and a /")
	}
	if _, err := url.Parse(strings.Join(t.literals, "x")); err != nil {
		return target{}, errors.New("the URL cannot be read")
	}
	return t, nil
}

// perRecord says whether the URL depends on the record.
func (t target) perRecord() bool { return len(t.names) > 0 }

// namesRecord says whether the URL tells one record from another.
func (t target) namesRecord() bool {
	for _, name := range t.names {
		if name != "op" {
			return true
		}
	}
	return false
}

// origin is what a credential is given to.
func (t target) origin() string { return t.base.Scheme + "://" + strings.ToLower(t.base.Host) }

// expand fills the placeholders. A value that is empty, or that would change
// the path's meaning, rejects the record.
func (t target) expand(item *destinations.Item) (string, error) {
	var b strings.Builder
	for i, literal := range t.literals {
		b.WriteString(literal)
		if i == len(t.names) {
			break
		}
		value, err := placeholder(t.names[i], item)
		if err != nil {
			return "", &tidegate.Fault{
				Action: tidegate.Reject, Code: "record.url", Subject: "field " + t.names[i], Message: "the URL cannot be made: " + err.Error(),
				Hint: "map a value that can stand in a URL, or leave such rows out of the model",
			}
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

func placeholder(name string, item *destinations.Item) (string, error) {
	var value any
	switch name {
	case "identifier":
		value = item.Identifier
	case "destination_id":
		value = item.DestinationID
	case "op":
		value = string(item.Op)
	default:
		value = item.Record[strings.TrimPrefix(name, "record.")]
	}
	var text string
	switch v := value.(type) {
	case nil:
		return "", errors.New("the value is missing")
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case int:
		text = strconv.Itoa(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return "", fmt.Errorf("a value of type %T cannot stand in a URL", value)
	}
	switch text {
	case "":
		return "", errors.New("the value is empty")
	case ".", "..":
		// Servers and proxies take such a segment for another path.
		return "", errors.New(`the value is "." or ".."`)
	}
	return escape(text), nil
}

// escape writes every byte that RFC 3986 does not call unreserved as %XX, so
// that a value is one segment of a path, or one value of a query, and no more.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
