package snowflake_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/snowflake"
	"github.com/tidegate/tidegate/warehouse/snowflake/sftest"
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
		if snowflake.CheckQuery(sql) != nil {
			return
		}
		leads, err := sftest.Statements(sql)
		if err != nil {
			return // Snowflake's parser would say so
		}
		if len(leads) != 1 || !strings.Contains(" select with ( show describe desc explain ", " "+leads[0]+" ") {
			t.Errorf("%q was let through and holds %q", sql, leads)
		}
	})
}

// FuzzCell: no text makes decoding panic, what comes of JSON is JSON, and no digit is lost.
func FuzzCell(f *testing.F) {
	engines := []string{"fixed", "real", "text", "boolean", "binary", "date", "time", "timestamp_ntz", "timestamp_tz", "variant", "array", "something new"}
	for i, text := range []string{"-00.10", "1e5", "x", "1", "ff00", "-719162", "3.5", "-1.000000001", "1700000000.123456789 1500", `{"a":1}`, `[]`, "y"} {
		f.Add(uint8(i), uint8(38), uint8(9), text)
	}
	f.Fuzz(func(t *testing.T, engine, precision, scale uint8, text string) {
		v, typ, err := snowflake.FromText(engines[int(engine)%len(engines)], int(precision%39), int(scale%38), text)
		if err != nil {
			return
		}
		switch n := v.(type) {
		case tidegate.JSONText:
			if !json.Valid([]byte(n)) {
				t.Errorf("%q became %v", text, v)
			}
		case tidegate.DecimalText:
			was, _ := new(big.Rat).SetString(text)
			is, _ := new(big.Rat).SetString(string(n))
			if typ.Kind != tidegate.Decimal || was == nil || is == nil || was.Cmp(is) != 0 {
				t.Errorf("%q became %v of type %v", text, v, typ)
			}
		case int64:
			if typ.Kind != tidegate.Int {
				t.Errorf("%q became an int in a column of type %v", text, typ)
			}
		}
	})
}

// FuzzJSON: what is written is valid JSON, and is written again as it is.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.50,-0,1e400,12345678901234567890.123456789,"\u0000\ud800x\\\"",null]}`, `1e-999999999`, `"\ud83d\ude00"`, `123456789012345678901234567890123456789`, `0.1`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		got := snowflake.AppendJSON(nil, text)
		if !json.Valid(got) {
			t.Fatalf("%q became %q", text, got)
		}
		if again := snowflake.AppendJSON(nil, string(got)); string(again) != string(got) {
			t.Errorf("%q became %q and then %q", text, got, again)
		}
	})
}
