package scan

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// document draws JSON texts, mostly valid, with the names that matter, odd
// spacing, escapes and repeated names.
func document(t *rapid.T) []byte {
	var b strings.Builder
	writeObject(t, &b, 5)
	text := []byte(b.String())
	if rapid.IntRange(0, 4).Draw(t, "damage") == 0 && len(text) > 0 {
		i := rapid.IntRange(0, len(text)-1).Draw(t, "where")
		text[i] = rapid.Byte().Draw(t, "byte")
	}
	return text
}

var (
	spaces = rapid.SampledFrom([]string{"", "", "", " ", "\n", "\t \r\n"})
	names  = rapid.SampledFrom([]string{
		`"type"`, `"messageId"`, `"userId"`, `"anonymousId"`, `"event"`, `"batch"`, `"batch"`, `"writeKey"`, `"sentAt"`, `"context"`, `"integrations"`,
		`"properties"`, `"ip"`, `"userAgent"`, `"previousId"`, `"context"`, `"c\u006fntext"`, `"\u0069p"`, `"\u0074ype"`, `"bat\u0063h"`, `"userid"`, `""`, `"\\"`, `"\""`, `"ключ"`, `"\ud83d\ude00"`,
	})
	scalars = rapid.SampledFrom([]string{
		"0", "-0", "1", "-12.5", "1e3", "1E-7", "12345678901234567890", "true", "false", "null", `""`, `"track"`, `"\u0000"`, `"\ud800"`, `"é€😀"`, `"\\\"\/\b\f\n\r\t"`,
		`"a string that is longer than eight bytes, with a \"quote\" in it"`,
	})
)

func writeObject(t *rapid.T, b *strings.Builder, depth int) {
	b.WriteString("{" + spaces.Draw(t, "space"))
	for i := range rapid.IntRange(0, 5).Draw(t, "members") {
		if i > 0 {
			b.WriteString("," + spaces.Draw(t, "space"))
		}
		b.WriteString(names.Draw(t, "name") + spaces.Draw(t, "space") + ":" + spaces.Draw(t, "space"))
		writeValue(t, b, depth-1)
	}
	b.WriteString(spaces.Draw(t, "space") + "}" + spaces.Draw(t, "space"))
}

func writeValue(t *rapid.T, b *strings.Builder, depth int) {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	switch {
	case depth > 0 && kind == 0:
		writeObject(t, b, depth)
	case depth > 0 && kind <= 2:
		b.WriteString("[" + spaces.Draw(t, "space"))
		for i := range rapid.IntRange(0, 4).Draw(t, "items") {
			if i > 0 {
				b.WriteString("," + spaces.Draw(t, "space"))
			}
			writeValue(t, b, depth-1)
			b.WriteString(spaces.Draw(t, "space"))
		}
		b.WriteString("]")
	case kind == 3:
		b.WriteString(strconv.FormatFloat(rapid.Float64().Draw(t, "number"), 'g', -1, 64))
	default:
		b.WriteString(scalars.Draw(t, "scalar"))
	}
}

func TestScanAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) { agree(t, document(rt)) })
}

// batch draws a body whose events often have the context of the one before, or nearly:
// longer, shorter, damaged, spaced, under another name, twice in an event, or elsewhere.
func batch(t *rapid.T) []byte {
	contexts := []string{"null", `{"ip":"0.0.0.0"}`, `{"ip":"1.2.3.4","userAgent":"a"}`}
	for range rapid.IntRange(1, 2).Draw(t, "contexts") {
		var b strings.Builder
		writeObject(t, &b, 4)
		contexts = append(contexts, strings.TrimSpace(b.String()))
	}
	pick := rapid.SampledFrom(contexts)
	name := rapid.SampledFrom([]string{`"context"`, `"context"`, `"context"`, `"c\u006fntext"`, `"properties"`})
	last := pick.Draw(t, "first")
	var b strings.Builder
	b.WriteString(`{"context":` + last + `,"batch":[`)
	for i := range rapid.IntRange(1, 6).Draw(t, "events") {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"n":` + strconv.Itoa(i))
		for range rapid.IntRange(0, 2).Draw(t, "of them") {
			switch rapid.IntRange(0, 9).Draw(t, "change") {
			case 0:
				last = pick.Draw(t, "other")
			case 1:
				last += rapid.SampledFrom([]string{"}", " ", "0", `"`, "{}"}).Draw(t, "more")
			case 2:
				last = last[:len(last)-1]
			case 3:
				last = `{"in":` + last + `}`
			}
			b.WriteString("," + name.Draw(t, "name") + ":" + spaces.Draw(t, "space") + last + spaces.Draw(t, "space"))
			if len(last) == 0 {
				last = pick.Draw(t, "another")
			}
		}
		b.WriteString(`}`)
	}
	return []byte(b.String() + `]}`)
}

func TestRepeatedContextsAreReadAsTheFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) { agree(t, batch(rt)) })
}
