package clickhouse

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// layout is how a table is made.
type layout struct {
	names    []sqltext.Text
	defs     []sqltext.Text
	engine   sqltext.Text
	order    sqltext.Text
	settings sqltext.Text
	final    sqltext.Text // how the table before it is read
}

// eventColumns tell a table of events: the columns that each of them has. Those
// that are always set take no NULL, which costs a file and a branch per value.
var eventColumns = map[string]bool{"id": true, "received_at": true, "original_timestamp": false, "timestamp": false, "uuid_ts": true}

// alwaysSet are further columns of tables of events that are never NULL.
var alwaysSet = map[string]bool{"id": true, "received_at": true, "uuid_ts": true, "_tidegate_offset": true, "_tidegate_load_id": true}

func isEvents(s tidegate.Schema) bool {
	for name := range eventColumns {
		at := s.Index(name)
		if at < 0 || name == "id" && s[at].Type.Kind != tidegate.String || name != "id" && s[at].Type.Kind != tidegate.Timestamp {
			return false
		}
	}
	return true
}

// layoutOf is the layout of a new table.
//
// A table of events is sorted by the day on which the client made the event and by
// its id. Both are the same however often a client sends the event, so that
// repeats of one event are merged into one; the time of arrival, which others
// sort by, is another each time.
func layoutOf(d sqltext.Dialect, s tidegate.Schema) (*layout, error) {
	events := isEvents(s)
	lay := &layout{engine: "MergeTree", order: "tuple()"}
	for _, c := range s {
		name, err := d.Ident(c.Name)
		if err != nil {
			return nil, err
		}
		def, err := definition(d, c, events)
		if err != nil {
			return nil, err
		}
		lay.names, lay.defs = append(lay.names, name), append(lay.defs, def)
	}
	if events {
		lay.engine = "ReplacingMergeTree"
		lay.order = "(toDate(ifNull(original_timestamp, toDateTime64(0, 6, 'UTC'))), id)"
		lay.defs = append(lay.defs, "INDEX _tidegate_received received_at TYPE minmax", "INDEX _tidegate_timestamp timestamp TYPE minmax")
	}
	return lay, nil
}

// definition is a column in a CREATE TABLE.
func definition(d sqltext.Dialect, c tidegate.Column, events bool) (sqltext.Text, error) {
	name, err := d.Ident(c.Name)
	if err != nil {
		return "", err
	}
	typ, err := d.Type(c.Type)
	if err != nil {
		return "", fmt.Errorf("column %q: %w", c.Name, err)
	}
	switch {
	case events && alwaysSet[c.Name]:
		inner, _ := wrapped(string(typ), "Nullable")
		typ = sqltext.Text(inner)
	case c.Cardinality == tidegate.FewValues && c.Type.Kind == tidegate.String:
		return name + " LowCardinality(Nullable(String))", nil
	}
	return name + " " + typ + codecOf(c.Type.Kind), nil
}

// codecOf is how a column is compressed: times grow slowly from row to row, texts repeat.
func codecOf(k tidegate.Kind) sqltext.Text {
	switch k {
	case tidegate.Timestamp, tidegate.Date:
		return " CODEC(Delta, ZSTD(1))"
	case tidegate.String, tidegate.JSON, tidegate.Bytes:
		return " CODEC(ZSTD(1))"
	default:
		return ""
	}
}

// layoutFor is the layout of a table written anew: with the columns at casts of
// other types, and one row per key unless that is empty. values are what its columns are made of.
func layoutFor(d sqltext.Dialect, t *table, casts map[int]tidegate.Type, key []string) (lay *layout, values []sqltext.Text, err error) {
	lay = &layout{engine: "MergeTree", order: "tuple()"}
	for i, c := range t.columns {
		name, err := d.Ident(c.name)
		if err != nil {
			return nil, nil, err
		}
		typ, codec, value := sqltext.Text(c.engine), sqltext.Text(t.codecs[i]), name
		if codec != "" {
			codec = " " + codec
		}
		if to, ok := casts[i]; ok {
			if typ, err = d.Type(to); err != nil {
				return nil, nil, err
			}
			codec, value = codecOf(to.Kind), cast(name, c.typ, typ)
		}
		if slices.Contains(key, c.name) { // a key is never NULL
			if inner, ok := wrapped(string(typ), "Nullable"); ok {
				typ = sqltext.Text(inner)
				value = "CAST(" + value + " AS " + typ + ")"
			}
		}
		lay.names = append(lay.names, name)
		lay.defs = append(lay.defs, name+" "+typ+codec)
		values = append(values, value)
	}
	if len(key) > 0 {
		order, err := d.Idents(key)
		if err != nil {
			return nil, nil, err
		}
		lay.engine, lay.order = "ReplacingMergeTree", "("+sqltext.Join(order, ", ")+")"
	}
	if strings.HasSuffix(t.engine, "ReplacingMergeTree") {
		lay.final = " FINAL"
	}
	return lay, values, nil
}

// cast turns a column into another type so that its values are those that the nouns would carry there.
func cast(name sqltext.Text, from tidegate.Type, typ sqltext.Text) sqltext.Text {
	if from.Kind == tidegate.Bytes {
		return "base64Encode(" + name + ")"
	}
	return "CAST(" + name + " AS " + typ + ")"
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
