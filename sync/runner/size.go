package runner

import "github.com/tidegate/tidegate"

// itemSize bounds the JSON encoding of u from above well enough to keep a batch
// inside Limit.Bytes, without encoding it: the envelope that a connector puts
// around a record is taken as 96 bytes.
func itemSize(u *unit) int {
	record := u.After
	if u.Op == tidegate.Removed {
		record = u.Before
	}
	n := 96 + jsonSize(u.Identifier) + stringSize(u.DestinationID) + stringSize(u.IdempotencyKey)
	for field, value := range record {
		n += stringSize(field) + 2 + jsonSize(value)
	}
	return n
}

func jsonSize(v any) int {
	switch v := v.(type) {
	case nil:
		return 4
	case bool:
		return 5
	case string:
		return stringSize(v)
	case []any:
		n := 2
		for _, e := range v {
			n += 1 + jsonSize(e)
		}
		return n
	case map[string]any:
		n := 2
		for field, e := range v {
			n += stringSize(field) + 2 + jsonSize(e)
		}
		return n
	}
	return 26 // a number, at its longest
}

func stringSize(s string) int {
	n := 2 + len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20, c == '<', c == '>', c == '&':
			n += 5
		case c == '"', c == '\\':
			n++
		}
	}
	return n
}
