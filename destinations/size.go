package destinations

// JSONSize bounds from above how many bytes a value has as JSON, without writing it, well
// enough to keep a batch inside of Limit.Bytes.
func JSONSize(v any) int {
	switch v := v.(type) {
	case nil, bool:
		return 5
	case string:
		n := 2 + len(v)
		for i := range len(v) {
			switch c := v[i]; {
			case c < 0x20, c == '<', c == '>', c == '&':
				n += 5
			case c == '"', c == '\\':
				n++
			}
		}
		return n
	case []any:
		n := 2
		for _, e := range v {
			n += 1 + JSONSize(e)
		}
		return n
	case map[string]any:
		n := 2
		for name, e := range v {
			n += JSONSize(name) + 2 + JSONSize(e)
		}
		return n
	}
	return 26 // a number, at its longest
}
