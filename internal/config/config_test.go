package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/internal/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// project is a config that uses everything the package knows.
type project struct {
	Name      string               `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$" doc:"What the project is called."`
	Warehouse warehouse            `json:"warehouse"`
	Sync      tidegate.Sync        `json:"sync,omitzero"`
	Tags      []string             `json:"tags,omitempty" enum:"crm,ads" max:"2"`
	Auth      *auth                `json:"auth,omitempty"`
	Headers   map[string]string    `json:"headers,omitempty" secret:"true"`
	Limits    map[string]limit     `json:"limits,omitempty"`
	Timeout   time.Duration        `json:"timeout" default:"30s" min:"1" max:"600"`
	URL       string               `json:"url,omitempty" format:"uri"`
	Ratio     float64              `json:"ratio" default:"0.5" min:"0" max:"1"`
	Workers   int                  `json:"workers" default:"4" min:"1" max:"64"`
	Small     uint8                `json:"small,omitempty"`
	On        bool                 `json:"on" default:"true"`
	Anything  any                  `json:"anything,omitempty"`
	Kinds     []tidegate.EventType `json:"kinds" default:"[track, page]"`
	Base
}

type Base struct {
	Comment string `json:"comment,omitempty"`
}

type warehouse struct {
	Kind   string          `json:"kind" enum:"duckdb,postgres"`
	Config json.RawMessage `json:"config,omitempty"`
}

type auth struct {
	Kind  string        `json:"kind" default:"none" enum:"none,bearer"`
	Token secret.Secret `json:"token,omitzero" doc:"The token."`
	Old   string        `json:"old,omitempty" secret:"true"`
}

func (a *auth) Validate() []config.Problem {
	if a.Kind == "bearer" && a.Token.Empty() {
		return []config.Problem{{Path: "kind", Message: "bearer needs a token", Hint: "add token"}}
	}
	return nil
}

type limit struct {
	Calls int `json:"calls"`
}

const good = `
name: shop
warehouse: &w
  kind: duckdb
  config: {path: "x.db", threads: 4, big: 9007199254740993, exact: 0.10, list: [1, null, true]}
sync:
  name: contacts
  model: customers
  destination: crm
  object: contacts
  mapping:
    identifier: email
    fields:
      - {field: email, column: email}
      - field: note
        template: |
          {{ a }} <b>
tags: [crm]
auth: {token: "${env:TOKEN}"}
headers: {X-Key: abc}
limits:
  hubspot: {calls: 100}
timeout: 1m30s
anything: {a: [1, 2.5, "x"]}
comment: |
  two
  lines
`

func TestDecodeGood(t *testing.T) {
	t.Parallel()
	var p project
	if err := config.DecodeYAML("tidegate.yaml", []byte(good), &p); err != nil {
		t.Fatal(err)
	}
	want := project{
		Name:      "shop",
		Warehouse: warehouse{Kind: "duckdb", Config: json.RawMessage(`{"path":"x.db","threads":4,"big":9007199254740993,"exact":0.10,"list":[1,null,true]}`)},
		Sync: tidegate.Sync{
			Name: "contacts", Model: "customers", Destination: "crm", Object: "contacts", Mode: tidegate.Upsert,
			Mapping: tidegate.Mapping{Identifier: "email", Fields: []tidegate.FieldMapping{
				{Field: "email", Column: "email"}, {Field: "note", Template: "{{ a }} <b>\n"},
			}},
		},
		Tags: []string{"crm"}, Auth: &auth{Kind: "none", Token: secret.New("${env:TOKEN}")}, Headers: map[string]string{"X-Key": "abc"},
		Limits: map[string]limit{"hubspot": {Calls: 100}}, Timeout: 90 * time.Second, Ratio: 0.5, Workers: 4, On: true,
		Anything: map[string]any{"a": []any{int64(1), 2.5, "x"}}, Kinds: []tidegate.EventType{"track", "page"},
		Base: Base{Comment: "two\nlines\n"},
	}
	if diff := cmp.Diff(want, p, cmp.Comparer(func(a, b secret.Secret) bool { return a.Reveal() == b.Reveal() })); diff != "" {
		t.Error(diff)
	}
}

// TestBadFiles decodes every testdata/*.bad.yaml and *.bad.json and compares
// the problems with the file beside it.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.bad.*")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".txt") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			decode := config.DecodeYAML
			if strings.HasSuffix(file, ".json") {
				decode = config.DecodeJSON
			}
			var p project
			err = decode(filepath.Base(file), data, &p)
			var problems *config.Error
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			golden := file + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("the problems show a secret")
			}
			for _, p := range problems.Problems {
				if p.Line == 0 || p.Column == 0 {
					t.Errorf("no place: %s", p)
				}
			}
		})
	}
}

func TestPrefilledValuesAreDefaults(t *testing.T) {
	t.Parallel()
	m := tidegate.Model{Name: "customers"}
	if err := config.DecodeYAML("m.yaml", []byte("sql: select 1\nprimary_key: [id]"), &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != "customers" {
		t.Errorf("got %q", m.Name)
	}
	if err := config.DecodeYAML("m.yaml", []byte("sql: select 1\nprimary_key: [id]"), &tidegate.Model{}); err == nil {
		t.Error("a model without a name was accepted")
	}
}

func TestDocumentKeepsPlaces(t *testing.T) {
	t.Parallel()
	doc, err := config.ParseYAML("p.yaml", []byte("list:\n  - kind: a\n    config:\n      kind: zzz\n      tokn: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	part := doc.At("list[0].config")
	if part == nil {
		t.Fatal("not found")
	}
	var a auth
	got := part.Decode(&a)
	want := "p.yaml:4:13: list[0].config.kind: \"zzz\" is not one of the allowed values (known: bearer, none)\n" +
		"p.yaml:5:7: list[0].config.tokn: unknown key (did you mean \"token\"?)"
	if got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
	if p := doc.Problem("list[0].config.absent", "is missing", ""); p.Line != 4 || p.Path != "list[0].config.absent" {
		t.Errorf("problem at a place that does not exist: %+v", p)
	}
	for _, absent := range []string{"x", "list[1]", "list.kind", "list[0].kind.x", "list[-1]"} {
		if doc.At(absent) != nil {
			t.Errorf("At(%q) found something", absent)
		}
	}
}

func TestSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	raw, err := json.MarshalIndent(config.Schema(&project{}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/schema.golden.json"
	if *update {
		if err := os.WriteFile(golden, append(raw, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(raw)+"\n"); diff != "" {
		t.Error(diff)
	}
	var schemaDoc any
	if err := json.Unmarshal(raw, &schemaDoc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", schemaDoc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(doc string) error {
		d, err := config.ParseYAML("x", []byte(doc))
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(d.JSON())))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	if err := valid(good); err != nil {
		t.Errorf("the schema refuses what Decode accepts: %v", err)
	}
	for _, bad := range []string{
		"name: shop", "name: Shop\nwarehouse: {kind: duckdb}", "name: shop\nwarehouse: {kind: x}", "name: shop\nwarehouse: {kind: duckdb}\nwrkers: 1",
		"name: shop\nwarehouse: {kind: duckdb}\nworkers: 65", "name: shop\nwarehouse: {kind: duckdb}\ntimeout: soon", "name: shop\nwarehouse: {kind: duckdb}\ntags: [x]",
	} {
		if valid(bad) == nil {
			t.Errorf("the schema accepts %q", bad)
		}
		if config.DecodeYAML("x", []byte(bad), &project{}) == nil {
			t.Errorf("Decode accepts %q", bad)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	byName := map[string]config.Field{}
	for _, f := range config.Fields(project{}) {
		byName[f.Name] = f
	}
	if f := byName["name"]; !f.Required || f.Doc != "What the project is called." || f.Type != "string" {
		t.Errorf("name: %+v", f)
	}
	if f := byName["auth"]; f.Type != "object" || len(f.Fields) != 3 || !f.Fields[1].Secret || !f.Fields[2].Secret || f.Fields[0].Secret {
		t.Errorf("auth: %+v", f)
	}
	if f := byName["headers"]; !f.Secret || f.Items == nil || f.Items.Type != "string" {
		t.Errorf("headers: %+v", f)
	}
	if f := byName["comment"]; f.Type != "string" {
		t.Errorf("embedded: %+v", f)
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"mapping", "schedule", "mode", "model", "destination"}
	for word, want := range map[string]string{
		"maping": "mapping", "mappnig": "mapping", "Schedule": "schedule", "moodel": "model", "destnation": "destination",
		"x": "", "banana": "", "": "", strings.Repeat("m", 1000): "",
	} {
		if got := config.Suggest(word, known); got != want {
			t.Errorf("Suggest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestErrorIsAFaultAndJoins(t *testing.T) {
	t.Parallel()
	err := config.DecodeYAML("b.yaml", []byte("x: 1\ny: 2"), &warehouse{})
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	f := e.Fault()
	if f.Action != tidegate.Halt || f.Code != "config.invalid" || !strings.HasSuffix(f.Message, "and 2 more problems") {
		t.Errorf("%+v", f)
	}
	joined := config.Join(err, nil, config.DecodeYAML("a.yaml", []byte("kind: x"), &warehouse{}), errors.New("other"))
	if got := strings.Count(joined.Error(), "\n") + 1; got != 5 {
		t.Errorf("got %d lines:\n%v", got, joined)
	}
	if config.Join(nil, nil) != nil {
		t.Error("joining nothing is an error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a, *a]"))
	f.Add([]byte("<<: {a: 1}\n? [x]\n: y"))
	f.Add([]byte(`{"name":"x","warehouse":{"kind":"duckdb"}}`))
	f.Add([]byte("a: !!binary x\n---\nb: 0x1F"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func(string, []byte) (*config.Document, error){config.ParseYAML, config.ParseJSON} {
			doc, err := parse("f", data)
			if err != nil {
				var e *config.Error
				if !errors.As(err, &e) || len(e.Problems) == 0 {
					t.Fatalf("%T %v", err, err)
				}
				continue
			}
			_ = doc.Decode(&project{})
			raw := doc.JSON()
			if !json.Valid(raw) {
				t.Fatalf("%q gave invalid JSON %q", data, raw)
			}
			again, err := config.ParseJSON("g", raw)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			if string(again.JSON()) != string(raw) {
				t.Fatalf("%q became %q", raw, again.JSON())
			}
		}
	})
}

// TestMissingKeysSayWhatToWrite: every kind of field, and those of structs below.
func TestMissingKeysSayWhatToWrite(t *testing.T) {
	t.Parallel()
	type inner struct {
		Kind string `json:"kind" write:"duckdb"`
		Note string `json:"note,omitempty"`
	}
	var into struct {
		Name    string        `json:"name" pattern:"^[a-z]+$"`
		Host    string        `json:"host" doc:"The server's name. Or its address."`
		Prefix  string        `json:"prefix" doc:"URL of a bucket."`
		Token   secret.Secret `json:"token" doc:"A key."`
		Scheme  string        `json:"scheme" enum:"hmac,token"`
		Count   int           `json:"count"`
		On      bool          `json:"on"`
		Every   time.Duration `json:"every"`
		To      []string      `json:"to"`
		Inner   inner         `json:"inner"`
		Address string        `json:"address" write:"HOST:587"`
	}
	err := config.DecodeYAML("f.yaml", []byte("name: ''\n"), &into)
	want := strings.Join([]string{
		"f.yaml:1:7: name: must not be empty (write `name: NAME`)",
		"f.yaml:1:1: host: is missing (write `host: HOST`: the server's name)",
		"f.yaml:1:1: prefix: is missing (write `prefix: PREFIX`: URL of a bucket)",
		"f.yaml:1:1: token: is missing (write `token: ${secret:NAME}` after `tidegate secrets set NAME`, or ${env:NAME} or ${file:PATH}: a key)",
		"f.yaml:1:1: scheme: is missing (write `scheme: SCHEME`, one of hmac, token)",
		"f.yaml:1:1: count: is missing (write `count: COUNT`)",
		"f.yaml:1:1: on: is missing (write `on: true`)",
		"f.yaml:1:1: every: is missing (write `every: 15m`)",
		"f.yaml:1:1: to: is missing (write `to: [TO]`)",
		"f.yaml:1:1: inner: is missing (write `inner: {kind: duckdb}`)",
		"f.yaml:1:1: address: is missing (write `address: HOST:587`)",
	}, "\n")
	if err == nil {
		t.Fatal("it was taken")
	}
	got := strings.Split(err.Error(), "\n")
	for _, line := range strings.Split(want, "\n") {
		if !slices.Contains(got, line) {
			t.Errorf("%q is not among\n%s", line, err)
		}
	}
}
