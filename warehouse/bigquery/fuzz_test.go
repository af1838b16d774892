package bigquery_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	bq "cloud.google.com/go/bigquery"
	"cloud.google.com/go/civil"

	"github.com/tidegate/tidegate"
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

// FuzzCell: no value makes decoding panic, what comes of JSON is JSON, and no digit is lost.
func FuzzCell(f *testing.F) {
	types := []bq.FieldType{bq.StringFieldType, bq.JSONFieldType, bq.NumericFieldType, bq.BigNumericFieldType, bq.DateFieldType, bq.DateTimeFieldType, bq.RecordFieldType}
	for i, text := range []string{"x", `{"a":1}`, "-00.10", "1" + strings.Repeat("0", 37) + ".5", "2026-11-21", "2026-11-21T10:00:00", "x"} {
		f.Add(uint8(i), text)
	}
	f.Fuzz(func(t *testing.T, typ uint8, text string) {
		column := &bq.FieldSchema{Name: "c", Type: types[int(typ)%len(types)], Repeated: true}
		var value bq.Value = text
		var err error
		if column.Type == bq.DateFieldType { // as Google's client reads it
			value, err = civil.ParseDate(text)
		} else if column.Type == bq.DateTimeFieldType {
			value, err = civil.ParseDateTime(text)
		}
		if err != nil {
			return
		}
		v, err := bigquery.Cell(column, []bq.Value{value, nil})
		if err != nil {
			return
		}
		if document, ok := v.(tidegate.JSONText); !ok || !json.Valid([]byte(document)) {
			t.Errorf("%q became %v", text, v)
		}
		column.Repeated = false
		alone, err := bigquery.Cell(column, value)
		if err != nil {
			t.Fatalf("%q is an element of an array and no value: %v", text, err)
		}
		if number, ok := alone.(tidegate.DecimalText); ok {
			was, _ := new(big.Rat).SetString(text)
			is, _ := new(big.Rat).SetString(string(number))
			if was == nil || is == nil || was.Cmp(is) != 0 {
				t.Errorf("%q became %v", text, alone)
			}
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
