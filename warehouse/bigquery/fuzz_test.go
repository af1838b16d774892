package bigquery_test

import (
	"encoding/json"
	"strings"
	"testing"

	bq "google.golang.org/api/bigquery/v2"

	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
)

// FuzzQueryIsOneStatement: what is let through is one statement that reads also
// to the double's lexer, which was written by itself.
func FuzzQueryIsOneStatement(f *testing.F) {
	for _, sql := range escapes {
		f.Add(sql)
	}
	e := engine(nil)
	for _, sql := range e.Reads {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if bigquery.CheckQuery(sql) != nil {
			return
		}
		leads, err := bqtest.Statements(sql)
		if err != nil {
			return // BigQuery's parser would say so
		}
		if len(leads) != 1 || !strings.Contains(" select with from ( ", " "+leads[0]+" ") {
			t.Errorf("%q was let through and holds %q", sql, leads)
		}
	})
}

// FuzzCell: no text makes decoding panic, and what comes of JSON is JSON.
func FuzzCell(f *testing.F) {
	types := []string{"BOOL", "INT64", "FLOAT64", "NUMERIC", "BYTES", "DATE", "TIMESTAMP", "DATETIME", "JSON", "STRING", "RECORD"}
	for i := range types {
		f.Add(uint8(i), "1")
	}
	f.Add(uint8(2), "NaN")
	f.Add(uint8(3), "-00.10")
	f.Fuzz(func(t *testing.T, typ uint8, text string) {
		column := &bq.TableFieldSchema{Name: "c", Type: types[int(typ)%len(types)], Mode: "REPEATED"}
		v, err := bigquery.Cell(column, []any{map[string]any{"v": text}})
		if err != nil {
			return
		}
		column.Mode = ""
		if _, err := bigquery.Cell(column, text); err != nil {
			t.Errorf("%q is an element of an array and no value: %v", text, err)
		}
		if s, ok := v.(interface{ IsValid() bool }); ok && !s.IsValid() {
			t.Errorf("%q became %v", text, v)
		}
	})
}

// FuzzJSON: what is written is valid JSON, holds no number that BigQuery would
// round, and is written again as it is.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.50,-0,1e400,12345678901234567890.123456789,"\u0000\ud800x\\\"",null]}`, `1e-999999999`, `"\ud83d\ude00"`, `18446744073709551616`, `0.1`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		got := bigquery.AppendJSON(nil, text)
		if !json.Valid(got) {
			t.Fatalf("%q became %q", text, got)
		}
		if again := bigquery.AppendJSON(nil, string(got)); string(again) != string(got) {
			t.Errorf("%q became %q and then %q", text, got, again)
		}
	})
}
