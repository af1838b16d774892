package model

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
)

func TestValueAndText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		cell any
		text string // canonical JSON, or a part of the error after "!"
	}{
		{"null", nil, "null"},
		{"bool", true, "true"},
		{"largest int", int64(math.MaxInt64), "9223372036854775807"},
		{"smallest int", int64(math.MinInt64), "-9223372036854775808"},
		{"whole float", 2.0, "2.0"},
		{"negative zero", math.Copysign(0, -1), "0.0"},
		{"small float", 5e-324, "5e-324"},
		{"large float", math.MaxFloat64, "1.7976931348623157e+308"},
		{"nan", math.NaN(), "!not finite"},
		{"infinity", math.Inf(-1), "!not finite"},
		{"decimal", tidegate.DecimalText("-12.5"), `"-12.5"`},
		{"empty text", "", `""`},
		{"hard text", "a\"\\\n\x00ü\u2028", `"a\"\\\n\u0000ü` + "\u2028" + `"`},
		{"broken utf-8", "a\xff", "\"a\uFFFD\""},
		{"bytes", []byte{0, 255}, `"AP8="`},
		{"date", tidegate.CalendarDate(-719162), `"0001-01-01"`},
		{"date too early", tidegate.CalendarDate(-900000), "!year"},
		{"time", time.Date(2024, 2, 29, 12, 0, 0, 1000, time.FixedZone("x", 7200)), `"2024-02-29T10:00:00.000001Z"`},
		{"time too late", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "!year"},
		{"json", tidegate.JSONText(` {"b":[1,1.0,1e2,"x",null,true],"a":{}} `), `{"a":{},"b":[1,1.0,100.0,"x",null,true]}`},
		{"json beyond 64 bits", tidegate.JSONText(`18446744073709551616`), `"18446744073709551616"`},
		{"json too large", tidegate.JSONText(`1e999`), "!too large"},
		{"json twice", tidegate.JSONText(`{"a":1,"a":2}`), "!twice"},
		{"json tail", tidegate.JSONText(`1 2`), "!after the value"},
		{"json cut", tidegate.JSONText(`{"a":[1,`), "!unexpected EOF"},
		{"json deep", tidegate.JSONText(strings.Repeat("[", 80) + strings.Repeat("]", 80)), "!deeper"},
		{"not a cell", struct{}{}, "!none of a row's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v, err := Value(tc.cell)
			if part, wantErr := strings.CutPrefix(tc.text, "!"); wantErr {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Fatalf("%v, %v", v, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := string(AppendJSON(nil, v))
			if got != tc.text {
				t.Fatalf("%s, want %s", got, tc.text)
			}
			back, err := ParseJSON([]byte(got))
			if err != nil {
				t.Fatal(err)
			}
			if tc.name != "broken utf-8" {
				if d := cmp.Diff(v, back); d != "" {
					t.Fatal(d)
				}
			}
		})
	}
}

func TestKeyOf(t *testing.T) {
	t.Parallel()
	key, err := KeyOf([]any{int64(7), "de", nil, tidegate.DecimalText("1.5")})
	if err != nil || key != `[7,"de",null,"1.5"]` {
		t.Fatal(key, err)
	}
}

func TestParseRecord(t *testing.T) {
	t.Parallel()
	if r, err := ParseRecord(nil); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if _, err := ParseRecord([]byte("[]")); err == nil {
		t.Fatal("an array is no record")
	}
}

// values draws what a Record can hold.
func values(depth int) *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.String().AsAny(),
		rapid.Map(rapid.Float64(), func(f float64) any {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return 0.5
			}
			return f + 0
		}),
	)
	if depth == 0 {
		return scalar
	}
	return rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(values(depth-1), 0, 4), func(v []any) any { return append([]any{}, v...) }),
		rapid.MapOfN(rapid.String(), values(depth-1), 0, 4).AsAny())
}

func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := values(3).Draw(t, "value")
		text := AppendJSON(nil, v)
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		back, err := ParseJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, back); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,-0,1e5,"\u00e9",null,true,false]}`, `"\ud800"`, `[1,]`, `{"a":1,}`, `-`, `01`, "\"\xff\"", `{"a" : {"b":[]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ParseJSON(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is not JSON and was read as %v", text, v)
		}
		canonical := AppendJSON(nil, v)
		again, err := ParseJSON(canonical)
		if err != nil {
			t.Fatalf("the canonical form %s of %q cannot be read: %v", canonical, text, err)
		}
		if string(AppendJSON(nil, again)) != string(canonical) {
			t.Fatalf("%s is not stable", canonical)
		}
	})
}
