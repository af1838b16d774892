package dbt

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Results is what Tidegate keeps of a run_results.json.
type Results struct {
	Meta    Metadata
	Command string // build, run, test, …
	ByID    map[string]Result
}

// Result is what became of one node in one invocation.
type Result struct {
	Status  string // success, error, skipped, pass, fail, warn, …
	Message string
}

// At is when the invocation ended; zero when the file does not say.
func (r *Results) At() time.Time {
	at, err := time.Parse(time.RFC3339Nano, r.Meta.GeneratedAt)
	if err != nil {
		return time.Time{}
	}
	return at
}

// ReadResults reads a run_results.json of any version.
func ReadResults(r io.Reader) (*Results, error) {
	out := &Results{ByID: map[string]Result{}}
	seen := false
	err := readObject(r, map[string]func(*jsontext.Decoder) error{
		"metadata": out.Meta.read,
		"args": func(d *jsontext.Decoder) error {
			v, err := d.ReadValue()
			var args loose[struct {
				Which text `json:"which"`
			}]
			_ = args.UnmarshalJSON(v) // never fails
			out.Command = string(args.v.Which)
			return err
		},
		"results": func(d *jsontext.Decoder) error {
			seen = true
			return eachElement(d, out.add)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("reading run_results.json: %w", err)
	}
	if !seen {
		return nil, fmt.Errorf("reading run_results.json: it has no results: this is no file of dbt")
	}
	return out, nil
}

func (r *Results) add(v jsontext.Value) error {
	var in loose[struct {
		ID      text `json:"unique_id"`
		Status  text `json:"status"`
		Message text `json:"message"`
	}]
	_ = in.UnmarshalJSON(v) // never fails
	if in.v.ID == "" {
		return nil
	}
	if len(r.ByID) >= MaxNodes {
		return fmt.Errorf("it has more than %d results", MaxNodes)
	}
	message := string(in.v.Message)
	if len(message) > 500 {
		message = strings.ToValidUTF8(message[:500], "") + "…"
	}
	r.ByID[string(in.v.ID)] = Result{Status: strings.ToLower(string(in.v.Status)), Message: message}
	return nil
}

// eachElement calls use with each element of the array that comes next.
func eachElement(d *jsontext.Decoder, use func(jsontext.Value) error) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() == 'n' {
		return nil
	}
	if t.Kind() != '[' {
		return fmt.Errorf("a list must stand at byte %d", d.InputOffset())
	}
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		if err := use(v); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// Catalog is the columns that the warehouse has, by unique_id.
type Catalog struct {
	Meta    Metadata
	Columns map[string][]Column
}

// ReadCatalog reads a catalog.json, which `dbt docs generate` writes.
func ReadCatalog(r io.Reader) (*Catalog, error) {
	out := &Catalog{Columns: map[string][]Column{}}
	nodes := func(d *jsontext.Decoder) error {
		return eachMember(d, func(id string, d *jsontext.Decoder) error {
			v, err := d.ReadValue()
			if err != nil {
				return err
			}
			if len(out.Columns) >= MaxNodes {
				return fmt.Errorf("it has more than %d nodes", MaxNodes)
			}
			out.Columns[id] = catalogued(v)
			return nil
		})
	}
	if err := readObject(r, map[string]func(*jsontext.Decoder) error{"metadata": out.Meta.read, "nodes": nodes, "sources": nodes}); err != nil {
		return nil, fmt.Errorf("reading catalog.json: %w", err)
	}
	return out, nil
}

func catalogued(v jsontext.Value) []Column {
	var in loose[struct {
		Columns jsontext.Value `json:"columns"`
	}]
	_ = in.UnmarshalJSON(v) // never fails
	if in.v.Columns.Kind() != '{' {
		return nil
	}
	var list []Column
	_ = readObjectOf(in.v.Columns, func(name string, v jsontext.Value) {
		var c loose[struct {
			Name    text `json:"name"`
			Type    text `json:"type"`
			Comment text `json:"comment"`
		}]
		_ = c.UnmarshalJSON(v) // never fails
		if c.v.Name == "" {
			c.v.Name = text(name)
		}
		list = append(list, Column{Name: string(c.v.Name), Type: string(c.v.Type), Description: string(c.v.Comment)})
	})
	return list
}
