package scan

import "bytes"

// Members calls yield with every member of the object v, in order: its name with
// the escapes resolved, and its value. It ends when yield says false; of what is
// no object there are none.
func (v Value) Members(yield func(name []byte, value Value) bool) {
	v.members(func(name []byte, start, end int) bool { return yield(name, v[start:end:end]) })
}

// members is Members with the values as indexes into v.
func (v Value) members(yield func(name []byte, start, end int) bool) {
	if !v.IsObject() {
		return
	}
	s := scanner{b: v}
	for i := s.space(1); s.at(i) == '"'; i = s.space(i + 1) {
		after, start := s.name(i)
		if start < 0 {
			return
		}
		name := v[i+1 : after-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name = unescape(nil, name)
		}
		end := s.value(start, 0)
		if end < 0 || !yield(name, start, end) {
			return
		}
		if i = s.space(end); s.at(i) != ',' {
			return
		}
	}
}

// Member returns the value of the member called name of the object v, the last
// when there are several; nil when there is none.
func (v Value) Member(name string) Value {
	var found Value
	for n, value := range v.Members {
		if string(n) == name {
			found = value
		}
	}
	return found
}

// Items calls yield with every item of the array v, in order, until it says
// false; of what is no array there are none.
func (v Value) Items(yield func(Value) bool) {
	if !v.IsArray() {
		return
	}
	s := scanner{b: v}
	for i := s.space(1); s.at(i) != ']'; i = s.space(i + 1) {
		end := s.value(i, 0)
		if end < 0 || !yield(v[i:end:end]) {
			return
		}
		if i = s.space(end); s.at(i) != ',' {
			return
		}
	}
}

// AppendReplaced appends the object v to dst with the values at path, all of
// them should a name be repeated, replaced by what by makes of them. Whatever
// lies around them stays as it is.
func (v Value) AppendReplaced(dst []byte, path []string, by func(Value) []byte) []byte {
	kept := 0 // of v, what is in dst already
	v.members(func(name []byte, start, end int) bool {
		if string(name) != path[0] {
			return true
		}
		value := v[start:end:end]
		switch {
		case len(path) == 1:
			dst = append(append(dst, v[kept:start]...), by(value)...)
			kept = end
		case value.IsObject():
			dst = value.AppendReplaced(append(dst, v[kept:start]...), path[1:], by)
			kept = end
		}
		return true
	})
	return append(dst, v[kept:]...)
}
