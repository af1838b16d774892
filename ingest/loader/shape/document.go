package shape

import "fmt"

// Member is one member of a JSON object.
type Member struct {
	Key   string
	Value []byte // JSON text; a part of the object's
}

// Empty says whether the member says nothing: null, "", [], [""] or {}.
func (m Member) Empty() bool { return emptyJSON(m.Value) }

// Members takes the text of a JSON object apart. Of equal keys the last counts, in the
// place of the first.
func Members(object []byte) ([]Member, error) {
	p := parser{b: object}
	var all []Member
	at := make(map[string]int)
	err := p.object(func(key []byte) error {
		name := string(key)
		raw, err := p.skip(1)
		if i, again := at[name]; again {
			all[i].Value = raw
			return err
		}
		at[name] = len(all)
		all = append(all, Member{name, raw})
		return err
	})
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, fmt.Errorf("taking an object apart: %w", err)
	}
	return all, nil
}

// Object writes members as a JSON object.
func Object(members []Member) []byte {
	out := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(appendQuoted(out, []byte(m.Key)), ':'), m.Value...)
	}
	return append(out, '}')
}

// mergeObjects lays the members of over on those of under; where both have an object,
// its members in turn. The texts nest no deeper than the parser allows.
func mergeObjects(under, over []byte) ([]byte, error) {
	below, err := Members(under)
	if err != nil {
		return nil, err
	}
	above, err := Members(over)
	if err != nil {
		return nil, err
	}
	at := make(map[string]int, len(below))
	for i, m := range below {
		at[m.Key] = i
	}
	for _, m := range above {
		i, ok := at[m.Key]
		if !ok {
			below = append(below, m)
			continue
		}
		if below[i].Value[0] == '{' && m.Value[0] == '{' {
			if m.Value, err = mergeObjects(below[i].Value, m.Value); err != nil {
				return nil, err
			}
		}
		below[i].Value = m.Value
	}
	return Object(below), nil
}
