package analytics

import (
	"encoding/json"
	"errors"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

type color int

func (c color) MarshalText() ([]byte, error) { return []byte("#" + strings.Repeat("f", int(c))), nil }

type point struct {
	X, Y int
	Tag  string `json:"tag,omitempty"`
}

// What is encoded here decodes to what encoding/json would have made of it.
func TestValuesAsEncodingJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	for _, value := range []any{
		nil, true, false, "", "text", "\"\\\n\r\t\x00\x1f\x7f<>&\u2028\u2029", "a\xffb\xc3\x28", "😀é注", 0, -1, int8(-8), int16(16), int32(-32), int64(math.MinInt64),
		uint(1), uint8(8), uint16(16), uint32(32), uint64(math.MaxUint64), float32(0.1), 0.1, math.Copysign(0, -1), 1e-7, 1e-6, 1e21, 1e20, 123456789.125, math.MaxFloat64,
		math.SmallestNonzeroFloat64, json.Number("12345678901234567890"), json.RawMessage(`{"a": [1]}`), at, []byte("bytes"), color(3),
		point{1, 2, "p"},
		&point{},
		map[string]any{},
		map[string]any(nil),
		map[string]any{"a": nil, "b\"": []any{1, "x", nil}},
		map[string]string{"k": "v"},
		map[int]bool{1: true},
		[]any{},
		[]any(nil),
		[]string{"a", ""},
		[]string(nil),
		[]int{1, 2},
		[]float64{0.5},
		[]map[string]any{{"a": 1}, nil},
		[2]bool{true},
		Properties{"x": Traits{"y": 1}},
		[]Product{{ID: "i", SKU: "s", Name: "n", Price: 1.5}, {}},
		Product{Price: 2},
		time.Second,
		Integrations{"All": false},
	} {
		got, err := appendValue(nil, value, 1)
		if err != nil {
			t.Errorf("%#v: %v", value, err)
			continue
		}
		standard, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Errorf("%#v is encoded as %s: %v", value, got, err)
			continue
		}
		if err := json.Unmarshal(standard, &b); err != nil {
			t.Fatal(err)
		}
		if _, isTime := value.(time.Time); isTime {
			a, b = mustTime(t, a), mustTime(t, b)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%#v is encoded as %s, want %s", value, got, standard)
		}
	}
}

func mustTime(t *testing.T, v any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func FuzzStrings(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\xff\"\\", "\ud7ff\ue000", "\x99\x9c\x8d", "😀\u2028", strings.Repeat("é", 70)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q is encoded as %s: %v", s, got, err)
		}
		var standard string
		text, _ := json.Marshal(s)
		if err := json.Unmarshal(text, &standard); err != nil || back != standard {
			t.Errorf("%q comes back as %q, with encoding/json as %q", s, back, standard)
		}
	})
}

func FuzzFloats(f *testing.F) {
	for _, n := range []float64{0, 1, -1.5, 1e21, 1e-7, 0.1, math.MaxFloat64} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n float64) {
		got, err := appendFloat(nil, n, 64)
		if math.IsNaN(n) || math.IsInf(n, 0) {
			if err == nil {
				t.Fatalf("%v is encoded as %s", n, got)
			}
			return
		}
		var back float64
		if err := json.Unmarshal(got, &back); err != nil || back != n {
			t.Errorf("%v comes back as %v: %v", n, back, err)
		}
	})
}

func TestWhatCannotBeEncodedIsNamed(t *testing.T) {
	t.Parallel()
	loop := map[string]any{}
	loop["self"] = loop
	deep := any("end")
	for range 70 {
		deep = []any{deep}
	}
	for _, c := range []struct {
		name string
		msg  Message
		want string
	}{
		{"NaN", Track{UserId: "u", Event: "E", Properties: Properties{"price": math.NaN()}}, "analytics.Track.Properties.price: cannot be encoded: JSON has no such number"},
		{"nested", Track{UserId: "u", Event: "E", Properties: Properties{"a": map[string]any{"b": []any{1, math.Inf(1)}}}}, "Properties.a.b.1: cannot be encoded"},
		{"a channel", Identify{UserId: "u", Traits: Traits{"c": make(chan int)}}, "analytics.Identify.Traits.c: cannot be encoded: json: unsupported type: chan int"},
		{"a circle", Group{UserId: "u", GroupId: "g", Traits: Traits{"l": loop}}, "too many maps and lists"},
		{"too deep", Page{UserId: "u", Properties: Properties{"d": deep}}, "too many maps and lists"},
		{"the year 10000", Track{UserId: "u", Event: "E", Properties: Properties{"at": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}, "Properties.at: cannot be encoded"},
		{"in the context", Screen{UserId: "u", Context: &Context{Extra: map[string]any{"x": math.NaN()}}}, "analytics.Screen.Context.x: cannot"},
		{"in the context's traits", Alias{UserId: "u", PreviousId: "p", Context: &Context{Traits: Traits{"y": math.NaN()}}}, "analytics.Alias.Context.traits.y: cannot"},
		{"a location", Alias{UserId: "u", PreviousId: "p", Context: &Context{Location: LocationInfo{Speed: math.NaN()}}}, "Context.location.speed: cannot"},
		{"an integration", Track{UserId: "u", Event: "E", Integrations: Integrations{"i": func() {}}}, "analytics.Track.Integrations.i: cannot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, "http://nowhere.test", nil)
			err := client.Enqueue(c.msg)
			var field FieldError
			if !errors.As(err, &field) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %s", err, c.want)
			}
			if s := client.Stats(); s.Accepted != 0 || s.Queued != 0 {
				t.Errorf("counts %+v", s)
			}
		})
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	full := Context{
		App: AppInfo{"n", "v", "b", "ns"}, Campaign: CampaignInfo{"n", "s", "m", "t", "c"}, Device: DeviceInfo{"i", "ma", "mo", "n", "t", "v", "a"},
		Library: LibraryInfo{"l", "1"}, Location: LocationInfo{"c", "co", "r", 1.5, -2.5, 3}, Network: NetworkInfo{true, true, true, "c"}, OS: OSInfo{"o", "1"},
		Page: PageInfo{"h", "p", "r", "s", "t", "u"}, Referrer: ReferrerInfo{"t", "n", "u", "l"}, Screen: ScreenInfo{1, 2, 3}, IP: net.ParseIP("2001:db8::1"),
		Locale: "de-DE", Timezone: "Europe/Berlin", UserAgent: "UA", Traits: Traits{"plan": "free"}, Extra: map[string]any{"own": 1.0, "list": []any{"a"}},
	}
	for name, c := range map[string]Context{
		"full": full, "empty": {}, "only extra": {Extra: map[string]any{"own": true}}, "a place without a name": {Location: LocationInfo{Latitude: 1}},
		"a network without a carrier": {Network: NetworkInfo{WIFI: true}}, "a carrier": {Network: NetworkInfo{Carrier: "c"}}, "IPv4": {IP: net.IPv4(203, 0, 113, 7)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var back Context
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if !c.IP.Equal(back.IP) {
				t.Errorf("the address comes back as %v", back.IP)
			}
			c.IP, back.IP = nil, nil
			if !reflect.DeepEqual(c, back) {
				t.Errorf("%s comes back as\n%+v, want\n%+v", text, back, c)
			}
		})
	}
	text, _ := json.Marshal(Context{Locale: "de", Extra: map[string]any{"locale": "fr", "app": "of Extra"}})
	var back map[string]any
	if err := json.Unmarshal(text, &back); err != nil || back["locale"] != "de" || back["app"] != "of Extra" {
		t.Errorf("a field and Extra meet in %s: %v", text, err)
	}
	if text, _ := json.Marshal(Context{}); string(text) != "{}" {
		t.Errorf("an empty context is %s", text)
	}
}

func TestContextsMerge(t *testing.T) {
	t.Parallel()
	below := &Context{IP: net.IPv4(1, 2, 3, 4), Locale: "de", App: AppInfo{Name: "below"}, Extra: map[string]any{"a": 1, "b": 1}, Traits: Traits{"t": 1}}
	over := &Context{Locale: "fr", Extra: map[string]any{"b": 2}}
	got := over.over(below)
	want := &Context{IP: below.IP, Locale: "fr", App: AppInfo{Name: "below"}, Extra: map[string]any{"a": 1, "b": 2}, Traits: Traits{"t": 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if over.App.Name != "" || len(over.Extra) != 1 || len(below.Extra) != 2 {
		t.Error("merging changed what it merged")
	}
	if (*Context)(nil).over(below) != below || over.over(nil) != over {
		t.Error("nothing is not neutral")
	}
}

// The hot path allocates nothing of its own.
func TestEnqueueDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	client := newClient(t, "http://nowhere.test", func(c *Config) { c.Transport, c.BatchSize, c.QueueBytes = nowhere{}, MaxBatchSize, 64<<20 })
	m := order()
	m.Context = &Context{Locale: "de", IP: net.IPv4(203, 0, 113, 7)}
	if err := client.Enqueue(m); err != nil {
		t.Fatal(err)
	}
	per := testing.AllocsPerRun(1000, func() {
		if err := client.Enqueue(m); err != nil {
			t.Error(err)
		}
	})
	if per >= 1 {
		t.Errorf("%v allocations per message", per)
	}
}
