package webhook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate"
)

// simRecord is one record of a call.
type simRecord struct {
	id     string
	gone   bool
	fields tidegate.Record
	// cleared records lose their fields, where they exist.
	cleared bool
}

// simLine is one line of the simulator's file.
type simLine struct {
	ID   string          `json:"id"`
	Gone bool            `json:"gone,omitempty"`
	Set  tidegate.Record `json:"set,omitempty"`
}

// parseSim reads a body: the envelope of one record or of many, a list, or bare
// objects. pathID is the identifier that the path names, if any.
func parseSim(body []byte, pathID string, deleting bool) (list []simRecord, many bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if !json.Valid(body) || dec.Decode(&doc) != nil {
		return nil, false, errors.New("the body is not JSON")
	}
	entries, kept := []any{doc}, false
	if object, ok := doc.(map[string]any); ok {
		if inner, ok := object["records"].([]any); ok {
			entries, many = inner, true
		}
		kept = object["removal"] == string(tidegate.Clear)
	} else if entries, many = doc.([]any); !many {
		return nil, false, errors.New("the body is neither an object nor a list")
	}
	for _, e := range entries {
		object, ok := plain(e).(map[string]any)
		if !ok {
			return nil, false, errors.New("a record is not an object")
		}
		rec := simRecordOf(object, pathID, deleting)
		if rec.gone && kept { // the record stays, its fields go
			rec.gone, rec.cleared = false, true
			for name := range rec.fields {
				if scalar(rec.fields[name]) != rec.id {
					rec.fields[name] = nil
				}
			}
		}
		list = append(list, rec)
	}
	return list, many, nil
}

func simRecordOf(object map[string]any, pathID string, deleting bool) simRecord {
	rec := simRecord{id: pathID, gone: deleting, fields: object}
	if inner, ok := object["record"].(map[string]any); ok {
		rec.fields = inner
		rec.gone = rec.gone || object["op"] == string(tidegate.Removed)
		if id := scalar(object["identifier"]); id != "" {
			rec.id = id // an envelope knows better than the path, which may be anything
		}
	}
	if rec.id == "" {
		rec.id = scalar(rec.fields["id"])
	}
	return rec
}

// plain turns the numbers of a JSON value into int64, where they are whole and
// fit, and float64.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plain(v[name])
		}
	}
	return v
}

// set makes one change in memory.
func (s *Simulator) set(rec simRecord) {
	if rec.gone {
		delete(s.records, rec.id)
		return
	}
	if s.records[rec.id] == nil {
		s.records[rec.id] = tidegate.Record{}
	}
	maps.Copy(s.records[rec.id], rec.fields)
}

// keep makes one change and writes it down before the call is answered.
func (s *Simulator) keep(rec simRecord) error {
	if s.file != nil {
		raw, err := json.Marshal(simLine{rec.id, rec.gone, rec.fields})
		if err != nil {
			return fmt.Errorf("writing the simulator's file: %w", err)
		}
		if _, err := s.file.Write(append(raw, '\n')); err != nil {
			return fmt.Errorf("writing the simulator's file: %w", err)
		}
	}
	s.set(rec)
	return nil
}

// restore replays the file; a last line that was cut off by a kill is dropped.
func (s *Simulator) restore() (err error) {
	if s.o.Path == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading the simulator's file: %w", err)
		}
	}()
	raw, err := os.ReadFile(s.o.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	whole := bytes.LastIndexByte(raw, '\n') + 1
	lines := bufio.NewScanner(bytes.NewReader(raw[:whole]))
	lines.Buffer(nil, maxBody)
	for lines.Scan() {
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.UseNumber()
		var l simLine
		if err := dec.Decode(&l); err != nil || !json.Valid(lines.Bytes()) {
			return errors.Join(errors.New("a line is not what the simulator wrote"), err)
		}
		for name, v := range l.Set {
			l.Set[name] = plain(v)
		}
		s.set(simRecord{id: l.ID, gone: l.Gone, fields: l.Set})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.o.Path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = f.Truncate(int64(whole)); err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.file = f
	return nil
}

var simPage = htmltemplate.Must(htmltemplate.New("page").Parse(`<!doctype html><meta charset="utf-8"><title>Webhook, simulated</title>
<style>body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#222}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}th{background:#f4f4f4}</style>
<h1>Webhook, simulated</h1><p>{{.Calls}} calls carried {{.Carried}} records so far; {{.Held}} are held{{if lt (len .Rows) .Held}}, the first {{len .Rows}} are shown{{end}}.</p>
<table><tr><th>identifier</th><th>record</th></tr>{{range .Rows}}<tr><td>{{index . 0}}</td><td><code>{{index . 1}}</code></td></tr>{{end}}</table>`))

const maxShown = 1000

// page shows the records to a person.
func (s *Simulator) page(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][2]string
	ids := slices.Sorted(maps.Keys(s.records))
	for _, id := range ids[:min(len(ids), maxShown)] {
		raw, err := json.Marshal(s.records[id])
		if err != nil {
			raw = []byte(strconv.Quote(err.Error()))
		}
		rows = append(rows, [2]string{id, string(raw)})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = simPage.Execute(w, map[string]any{"Calls": s.calls, "Carried": s.carried, "Rows": rows, "Held": len(ids)}) // the reader may be gone
}
