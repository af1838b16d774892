package duckdb_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// TestEveryTypeIsRead reads what only a user's own SQL makes.
func TestEveryTypeIsRead(t *testing.T) {
	t.Parallel()
	w := open(t)
	if _, err := w.Exec(context.Background(), "CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'ünï')"); err != nil {
		t.Fatal(err)
	}
	kind := func(k tidegate.Kind) tidegate.Type { return tidegate.Type{Kind: k} }
	huge := tidegate.Type{Kind: tidegate.Decimal, Precision: 38}
	for _, c := range []struct {
		sql  string
		typ  tidegate.Type
		want any
	}{
		{"(-128)::TINYINT", kind(tidegate.Int), int64(-128)},
		{"(-32768)::SMALLINT", kind(tidegate.Int), int64(-32768)},
		{"(-2147483648)::INTEGER", kind(tidegate.Int), int64(math.MinInt32)},
		{"255::UTINYINT", kind(tidegate.Int), int64(255)},
		{"65535::USMALLINT", kind(tidegate.Int), int64(65535)},
		{"4294967295::UINTEGER", kind(tidegate.Int), int64(math.MaxUint32)},
		{"18446744073709551615::UBIGINT", huge, tidegate.DecimalText("18446744073709551615")},
		{"(-170141183460469231731687303715884105728)::HUGEINT", huge, tidegate.DecimalText("-170141183460469231731687303715884105728")},
		{"340282366920938463463374607431768211455::UHUGEINT", huge, tidegate.DecimalText("340282366920938463463374607431768211455")},
		{"sum(1::BIGINT)", huge, tidegate.DecimalText("1")},
		{"1.5::FLOAT", kind(tidegate.Float), 1.5},
		{"'nan'::DOUBLE", kind(tidegate.Float), math.NaN()},
		{"1.10::DECIMAL(4,2)", tidegate.Type{Kind: tidegate.Decimal, Precision: 4, Scale: 2}, tidegate.DecimalText("1.1")},
		{"'it''s ok'::mood", kind(tidegate.String), "it's ok"},
		{"'00112233-4455-6677-8899-aabbccddeeff'::UUID", kind(tidegate.String), "00112233-4455-6677-8899-aabbccddeeff"},
		{"'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID", kind(tidegate.String), "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		{"'00000000-0000-0000-0000-000000000000'::UUID", kind(tidegate.String), "00000000-0000-0000-0000-000000000000"},
		{"TIME '23:59:59.123456'", kind(tidegate.String), "23:59:59.123456"},
		{"TIME '01:02:03'", kind(tidegate.String), "01:02:03"},
		{"'01:02:03.5+02:30'::TIMETZ", kind(tidegate.String), "01:02:03.5+02:30"},
		{"'01:02:03-08'::TIMETZ", kind(tidegate.String), "01:02:03-08"},
		{"INTERVAL '1 year 2 months -3 days 04:05:06.7'", kind(tidegate.String), "1 year 2 months -3 days 04:05:06.7"},
		{"INTERVAL '0 days'", kind(tidegate.String), "00:00:00"},
		{"INTERVAL '-90 minutes'", kind(tidegate.String), "-01:30:00"},
		{"INTERVAL '13 months'", kind(tidegate.String), "1 year 1 month"},
		{"'10110'::BIT", kind(tidegate.String), "10110"},
		{"'1234567890123456789012345678901234567890123'::BIGNUM", kind(tidegate.String), "1234567890123456789012345678901234567890123"},
		{"'-987654321098765432109876543210987654321098'::BIGNUM", kind(tidegate.String), "-987654321098765432109876543210987654321098"},
		{"TIMESTAMP_S '2024-01-02 03:04:05'", kind(tidegate.Timestamp), time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"TIMESTAMP_MS '2024-01-02 03:04:05.678'", kind(tidegate.Timestamp), time.Date(2024, 1, 2, 3, 4, 5, 678_000_000, time.UTC)},
		{"TIMESTAMP_NS '1969-12-31 23:59:59.123456789'", kind(tidegate.Timestamp), time.Date(1969, 12, 31, 23, 59, 59, 123_456_000, time.UTC)},
		{"TIMESTAMP '2024-01-02 03:04:05'", kind(tidegate.Timestamp), time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"TIMESTAMPTZ '2024-01-02 03:04:05+14'", kind(tidegate.Timestamp), time.Date(2024, 1, 1, 13, 4, 5, 0, time.UTC)},
		{"NULL", kind(tidegate.Int), nil},
		{"[1, NULL, 3]", kind(tidegate.JSON), tidegate.JSONText("[1,null,3]")},
		{"[]", kind(tidegate.JSON), tidegate.JSONText("[]")},
		{"[[1], [], NULL, [2, 3]]", kind(tidegate.JSON), tidegate.JSONText("[[1],[],null,[2,3]]")},
		{"[1.50, 2]::DECIMAL(4,2)[2]", kind(tidegate.JSON), tidegate.JSONText("[1.5,2]")},
		{`{'a': 1, 'b"': 'x"y', 'c': NULL, 'd': {'e': [TRUE]}}`, kind(tidegate.JSON), tidegate.JSONText(`{"a":1,"b\"":"x\"y","c":null,"d":{"e":[true]}}`)},
		{"MAP {'k': 1, 'l': NULL}", kind(tidegate.JSON), tidegate.JSONText(`{"k":1,"l":null}`)},
		{"MAP {1: 'x', 2: 'y'}", kind(tidegate.JSON), tidegate.JSONText(`{"1":"x","2":"y"}`)},
		{"union_value(num := 2)", kind(tidegate.JSON), tidegate.JSONText("2")},
		{"[DATE '2024-01-02']", kind(tidegate.JSON), tidegate.JSONText(`["2024-01-02"]`)},
		{"[TIMESTAMPTZ '2024-01-02 03:04:05.5Z']", kind(tidegate.JSON), tidegate.JSONText(`["2024-01-02T03:04:05.5Z"]`)},
		{"['nan'::DOUBLE, 'inf'::DOUBLE, 0.1]", kind(tidegate.JSON), tidegate.JSONText(`["NaN","Infinity",0.1]`)},
		{"['\\xFF'::BLOB]", kind(tidegate.JSON), tidegate.JSONText(`["/w=="]`)},
		{"['it''s ok'::mood]", kind(tidegate.JSON), tidegate.JSONText(`["it's ok"]`)},
		{"[INTERVAL '1 day', NULL]", kind(tidegate.JSON), tidegate.JSONText(`["1 day",null]`)},
		{"['{\"a\":1}'::JSON]", kind(tidegate.JSON), tidegate.JSONText(`[{"a":1}]`)},
		{"to_json({'a': [1]})", kind(tidegate.JSON), tidegate.JSONText(`{"a":[1]}`)},
	} {
		t.Run(c.sql, func(t *testing.T) {
			r, err := w.Query(context.Background(), "SELECT "+c.sql+" AS v")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got := r.Schema()[0].Type; got != c.typ {
				t.Errorf("type %v, want %v", got, c.typ)
			}
			row, err := r.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			got := row[0]
			if f, ok := c.want.(float64); ok && math.IsNaN(f) {
				if g, ok := got.(float64); !ok || !math.IsNaN(g) {
					t.Errorf("got %v", got)
				}
				return
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if text, ok := got.(tidegate.JSONText); ok && !json.Valid([]byte(text)) {
				t.Errorf("%s is not JSON", text)
			}
		})
	}
}

// TestEveryTypeOfTheEngine reads the engine's own table of all types: each is
// read, or refused with a fault that names the column.
func TestEveryTypeOfTheEngine(t *testing.T) {
	t.Parallel()
	w := open(t)
	read := 0
	for _, row := range all(t, w, "SELECT column_name FROM (DESCRIBE SELECT * FROM test_all_types())") {
		name := row[0].(string)
		r, err := w.Query(context.Background(), `SELECT "`+name+`" AS v FROM test_all_types()`)
		for err == nil {
			_, err = r.Next(context.Background())
		}
		if errors.Is(err, io.EOF) {
			read++
		} else if f := tidegate.FaultOf(err); f.Action != tidegate.Halt || !strings.Contains(f.Subject, `"v"`) || f.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if r != nil {
			r.Close()
		}
	}
	if read < 40 {
		t.Errorf("only %d types are read", read)
	}
}

func TestInfinityNamesItsColumn(t *testing.T) {
	t.Parallel()
	w := open(t)
	for _, sql := range []string{"'infinity'::TIMESTAMP", "'-infinity'::TIMESTAMPTZ", "'infinity'::DATE", "['infinity'::DATE]"} {
		r, err := w.Query(context.Background(), "SELECT 1 AS a, "+sql+" AS bad")
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Next(context.Background())
		if f := tidegate.FaultOf(err); f.Action != tidegate.Halt || !strings.Contains(f.Error(), `"bad"`) || !strings.Contains(f.Error(), "row 1") {
			t.Errorf("%s: got %v", sql, err)
		}
		r.Close()
	}
}

// TestParametersOfEveryKind: lists too, which the bookkeeping uses.
func TestParametersOfEveryKind(t *testing.T) {
	t.Parallel()
	w := open(t)
	got := all(t, w, "SELECT list_contains($1, 'b'), len($2), $3::BIGINT, $4 IS NULL, $5::UBIGINT", []string{"a", "b"}, []int64{1, 2, 3}, 7, nil, uint64(math.MaxUint64))
	want := []tidegate.Row{{true, int64(3), int64(7), true, tidegate.DecimalText("18446744073709551615")}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := w.Query(context.Background(), "SELECT $1", struct{}{}); err == nil {
		t.Error("a struct was taken as a parameter")
	}
}

// TestSpillsToDisk: an operation larger than the memory limit ends, although
// the engine may touch no other files.
func TestSpillsToDisk(t *testing.T) {
	t.Parallel()
	run(t, "spill", t.TempDir()+"/w.duckdb", 0)
}
