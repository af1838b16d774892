package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/osteele/liquid"
	"github.com/osteele/liquid/render"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
)

// maxBody bounds a body whatever the configuration says.
const maxBody = 16 << 20

// envelope is one record in the body that is sent when there is no template.
type envelope struct {
	Op             tidegate.Op     `json:"op"`
	Key            json.RawMessage `json:"key"`
	Identifier     any             `json:"identifier"`
	Previous       any             `json:"previous_identifier,omitempty"`
	DestinationID  string          `json:"destination_id,omitempty"`
	Record         tidegate.Record `json:"record"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
}

// header is what a body says once, whatever the number of its records.
type header struct {
	Object          string           `json:"object"`
	Mode            tidegate.Mode    `json:"mode"`
	IdentifierField string           `json:"identifier_field"`
	Removal         tidegate.Removal `json:"removal,omitempty"`
	Audience        string           `json:"audience,omitempty"`
}

// single and many are the two default bodies.
type single struct {
	header
	envelope
}

type many struct {
	header
	Records []envelope `json:"records"`
}

// defaultBody writes the default body of b.
func defaultBody(b *destinations.Batch, batched bool) ([]byte, error) {
	head := header{b.Object, b.Mode, b.IdentifierField, b.Removal, b.Audience}
	items := make([]envelope, len(b.Items))
	for i := range b.Items {
		it := &b.Items[i]
		items[i] = envelope{it.Op, keyJSON(it.Key), it.Identifier, it.PreviousIdentifier, it.DestinationID, it.Record, it.IdempotencyKey}
	}
	var body any = many{head, items}
	if !batched {
		body = single{head, items[0]}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // a body is not HTML, and people read it
	if err := enc.Encode(body); err != nil {
		return nil, reject("record.not_json", "a record cannot be written as JSON: "+err.Error(), "leave such values out of the model")
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// keyJSON returns the key as JSON; a key that is not JSON becomes a text.
func keyJSON(k tidegate.Key) json.RawMessage {
	if json.Valid([]byte(k)) {
		return json.RawMessage(k)
	}
	text, _ := json.Marshal(string(k)) // a string always encodes
	return text
}

// template is a parsed Liquid template of a body.
type template struct{ parsed *liquid.Template }

var (
	bannedTag   = regexp.MustCompile(`\{%-?\s*(include|tablerow)\b`)
	bannedRange = regexp.MustCompile(`\{[{%][^}]*\(\s*[^)}]*\.\.[^)}]*\)`)
	output      = regexp.MustCompile(`\{\{-?\s*([a-zA-Z_][a-zA-Z0-9_]*)`)
	local       = regexp.MustCompile(`\{%-?\s*(?:assign|capture|for)\s+([a-zA-Z_][a-zA-Z0-9_]*)`)
	rawBlock    = regexp.MustCompile(`(?s)\{%-?\s*(raw|comment)\s*-?%\}.*?\{%-?\s*end(raw|comment)\s*-?%\}`)
)

// variables of a template; with batch those of a record stand in records.
var (
	callVariables   = []string{"object", "mode", "identifier_field", "removal", "audience"}
	recordVariables = []string{"op", "key", "identifier", "previous_identifier", "destination_id", "record", "idempotency_key"}
)

// parseTemplate parses text. A name that no variable has is an error, because
// Liquid would write nothing in its place.
func parseTemplate(text string, batched bool) (*template, error) {
	if len(text) > maxBody {
		return nil, fmt.Errorf("the template has more than %d bytes", maxBody)
	}
	active := rawBlock.ReplaceAllString(text, "")
	if m := bannedTag.FindStringSubmatch(active); m != nil {
		return nil, fmt.Errorf("the tag %q is not allowed in a body", m[1])
	}
	if bannedRange.MatchString(active) {
		return nil, errors.New("ranges are not allowed in a body")
	}
	known := slices.Concat(callVariables, recordVariables)
	if batched {
		known = append(slices.Clone(callVariables), "records", "idempotency_key")
	}
	scope := append(slices.Clone(known), "forloop", "nil", "null", "true", "false", "empty", "blank")
	for _, m := range local.FindAllStringSubmatch(active, -1) {
		scope = append(scope, m[1])
	}
	for _, m := range output.FindAllStringSubmatch(active, -1) {
		if !slices.Contains(scope, m[1]) {
			hint := config.DidYouMean(m[1], known)
			if batched && slices.Contains(recordVariables, m[1]) {
				hint = "with batch, loop: {% for r in records %}{{ r." + m[1] + " }}{% endfor %}"
			}
			return nil, fmt.Errorf("the template has no variable %q (%s)", m[1], hint)
		}
	}
	parsed, err := newEngine().ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("the template is not valid Liquid: %s", strings.TrimPrefix(err.Error(), "Liquid error: "))
	}
	return &template{parsed}, nil
}

// newEngine makes an engine that reads no files. The check of the template's
// text is for people, this is the lock.
func newEngine() *liquid.Engine {
	e := liquid.NewEngine()
	e.RegisterTag("include", func(render.Context) (string, error) { return "", errors.New("include is not allowed") })
	return e
}

// body runs the template over b. The library panics where a writer fails and in
// some filters; a template must never end the process.
func (t *template) body(b *destinations.Batch, batched bool, key string) (out []byte, err error) {
	items := make([]any, len(b.Items))
	for i := range b.Items {
		items[i] = bindings(&b.Items[i])
	}
	vars := map[string]any{"records": items, "idempotency_key": key}
	if !batched {
		vars, _ = items[0].(map[string]any)
	}
	vars["object"], vars["mode"], vars["identifier_field"] = b.Object, string(b.Mode), b.IdentifierField
	vars["removal"], vars["audience"] = string(b.Removal), b.Audience
	w := &boundedBuffer{}
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, reject("record.template", "the body's template failed", "look which values the template cannot take")
		}
		if w.full {
			out, err = nil, tooLarge(maxBody)
		}
	}()
	if rerr := t.parsed.FRender(w, vars); rerr != nil {
		return nil, reject("record.template", "the body's template failed", "look which values the template cannot take")
	}
	return w.Bytes(), nil
}

// bindings are the variables of one record.
func bindings(it *destinations.Item) map[string]any {
	var key any
	if json.Unmarshal([]byte(it.Key), &key) != nil {
		key = string(it.Key)
	}
	return map[string]any{
		"op": string(it.Op), "key": key, "identifier": it.Identifier, "previous_identifier": it.PreviousIdentifier, "destination_id": it.DestinationID,
		"record": map[string]any(it.Record), "idempotency_key": it.IdempotencyKey,
	}
}

// boundedBuffer is a buffer with a limit.
type boundedBuffer struct {
	bytes.Buffer
	full bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxBody {
		b.full = true
		return 0, errors.New("the body is too large")
	}
	return b.Buffer.Write(p)
}

// isJSON says whether a content type promises JSON.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}
