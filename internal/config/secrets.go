package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
)

// Lookup returns what a reference names: scheme is "env", "file" or "secret", name is
// what stands behind the colon. Its error must not hold the value; a *tidegate.Fault
// among its errors says what is to be done.
type Lookup func(scheme, name string) (string, error)

// LookupFrom builds a Lookup from os.LookupEnv, a function that reads a file
// (os.ReadFile, or one bound to a folder) and one that reads a secret of the store, which may be nil. One
// line end at the end of a file is not part of the secret.
func LookupFrom(env func(string) (string, bool), readFile func(string) ([]byte, error), stored func(name string) (string, error)) Lookup {
	return func(scheme, name string) (string, error) {
		switch scheme {
		case "secret":
			if stored == nil {
				return "", errors.New("secrets of the store are not available here")
			}
			return stored(name)
		case "file":
			b, err := readFile(name)
			if err != nil {
				return "", fmt.Errorf("reading the file: %w", err)
			}
			return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
		}
		value, ok := env(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return value, nil
	}
}

var reference = regexp.MustCompile(`\$\{([^}:]*):([^}]*)\}`)

// Resolve replaces the references in the secret fields of the struct that into
// points to. plaintext, when not nil, is called with the path of every secret that is
// written out, so that someone can be warned. References may stand inside a
// longer text: `postgres://app:${env:PW}@db/crm`.
//
// The error is a *tidegate.Fault (Halt, "secret.unresolved") that names the path
// and the reference, never a value.
func Resolve(into any, lookup Lookup, plaintext func(path string)) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("config: resolving %T, which is not a pointer", into))
	}
	return eachSecret(v.Elem(), "", false, func(path, value string) (string, error) {
		if value == "" {
			return "", nil
		}
		if !reference.MatchString(value) {
			if plaintext != nil {
				plaintext(path)
			}
			return value, nil
		}
		return expand(path, value, lookup)
	})
}

func expand(path, value string, lookup Lookup) (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(value, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		var got string
		var err error
		switch {
		case m[1] != "env" && m[1] != "file" && m[1] != "secret":
			err = errors.New("only ${env:NAME}, ${file:PATH} and ${secret:NAME} are known")
		case lookup == nil:
			err = errors.New("references are not available here")
		default:
			got, err = lookup(m[1], m[2])
		}
		if err == nil && got == "" {
			err = errors.New("it is empty")
		}
		if err != nil && failed == nil {
			failed = unresolved(path, ref, err)
		}
		return got
	})
	return out, failed
}

// unresolved is the fault of one reference; a fault of the lookup's says more than we know.
func unresolved(path, ref string, err error) *tidegate.Fault {
	f := &tidegate.Fault{
		Action: tidegate.Halt, Code: "secret.unresolved", Subject: "field " + path, Message: fmt.Sprintf("the reference %s does not lead to a secret: %s", ref, err),
		Hint: "set it where the server runs, then try again", Err: err,
	}
	var known *tidegate.Fault
	if errors.As(err, &known) {
		f.Action, f.Code, f.Hint = known.Action, known.Code, known.Hint
		f.Message = fmt.Sprintf("the reference %s does not lead to a secret: %s", ref, known.Message)
	}
	return f
}

// eachSecret replaces every secret under v by what f returns for it.
func eachSecret(v reflect.Value, path string, tagged bool, f func(path, value string) (string, error)) error {
	if v.Type() == secretType {
		s, _ := v.Interface().(secret.Secret)
		out, err := f(path, s.Reveal())
		if err == nil {
			v.Set(reflect.ValueOf(secret.New(out)))
		}
		return err
	}
	switch v.Kind() { //nolint:exhaustive // the other kinds hold no secret
	case reflect.String:
		if !tagged {
			return nil
		}
		out, err := f(path, v.String())
		if err == nil {
			v.SetString(out)
		}
		return err
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return eachSecret(v.Elem(), path, tagged, f)
	case reflect.Struct:
		if v.Type() == timeType {
			return nil
		}
		for _, m := range members(v.Type()) {
			if err := eachSecret(v.FieldByIndex(m.index), join(path, m.name), m.secret(), f); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := eachSecret(v.Index(i), fmt.Sprintf("%s[%d]", path, i), tagged, f); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem() // a map's value cannot be set in place
			value.Set(v.MapIndex(k))
			if err := eachSecret(value, join(path, k.String()), tagged, f); err != nil {
				return err
			}
			v.SetMapIndex(k, value)
		}
	}
	return nil
}

// Scrub returns raw, the JSON config of the struct like, fit for an export or
// an API answer: secrets that are references stay, those written out become
// "***", and so does every value under a key that like does not know.
// Invariant 9. It returns null for what is not JSON.
func Scrub(raw json.RawMessage, like any) json.RawMessage {
	doc, err := ParseJSON("", raw)
	if err != nil {
		return json.RawMessage("null")
	}
	t := reflect.TypeOf(like)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return scrub(doc.root, Words(nil).describe(t, nil), false).appendJSON(nil)
}

var maskNode = &node{kind: stringNode, text: "***"}

func scrub(n *node, f Field, hidden bool) *node {
	hidden = hidden || f.Secret
	if f.Ref != "" {
		f = Words(nil).describe(f.typ, nil)
	}
	switch n.kind {
	case stringNode:
		if hidden && n.text != "" && reference.ReplaceAllString(n.text, "") != "" {
			return maskNode
		}
	case numberNode:
		if hidden {
			return maskNode
		}
	case listNode:
		out := &node{kind: listNode}
		items := Field{Type: "any"}
		if f.Items != nil {
			items = *f.Items
		}
		for _, v := range n.values {
			out.values = append(out.values, scrub(v, items, hidden))
		}
		return out
	case mapNode:
		out := &node{kind: mapNode, keys: n.keys}
		for i, k := range n.keys {
			out.values = append(out.values, scrub(n.values[i], f.key(k.name), hidden))
		}
		return out
	case nullNode, boolNode:
	}
	return n
}

// key returns the field of an object's key; an unknown one is secret.
func (f Field) key(name string) Field {
	for _, inner := range f.Fields {
		if inner.Name == name {
			return inner
		}
	}
	if f.Items != nil {
		return *f.Items
	}
	return Field{Type: "any", Secret: f.Type == "object"}
}
