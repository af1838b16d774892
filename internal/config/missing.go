package config

import (
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SecretHint says that text, which has the reference ${secret:NAME}, is how a secret is written.
func SecretHint(text string) string {
	return "write " + text + " after `tidegate secrets set NAME`, or ${env:NAME} or ${file:PATH}"
}

// hint says what to write where a required key is missing or empty, and what its doc tag
// says of it.
func (m member) hint() string {
	if m.secret() {
		return SecretHint("`"+m.name+": ${secret:NAME}`") + m.meaning()
	}
	hint := "write `" + m.name + ": " + m.example() + "`"
	if values := m.tag.Get("enum"); values != "" && m.typ.Kind() == reflect.String {
		hint += ", one of " + strings.ReplaceAll(values, ",", ", ")
	}
	return hint + m.meaning()
}

// meaning is the first sentence of the doc tag, to stand behind a colon.
func (m member) meaning() string {
	text, _, _ := strings.Cut(m.tag.Get("doc"), ". ")
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	if second, _ := utf8.DecodeRuneInString(text[size:]); !unicode.IsUpper(second) { // IDs and the like stay
		text = string(unicode.ToLower(first)) + text[size:]
	}
	return ": " + strings.TrimSuffix(text, ".")
}

// example is a value in YAML, on one line: that of the write tag, or the key in capitals.
func (m member) example() string {
	if text := m.tag.Get("write"); text != "" {
		return text
	}
	t := m.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case m.secret():
		return "${secret:NAME}"
	case t == durationType:
		return "15m"
	case t.Kind() == reflect.Bool:
		return "true"
	case t.Kind() == reflect.Slice && t != rawType:
		return "[" + strings.ToUpper(m.name) + "]"
	case t.Kind() == reflect.Struct && t != timeType:
		var keys []string
		for _, inner := range members(t) {
			if !inner.optional {
				keys = append(keys, inner.name+": "+inner.example())
			}
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	return strings.ToUpper(m.name)
}
