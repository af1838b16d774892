package shape

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func received() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// rig is a Shaper with tables that stay, and a record of the rows.
type rig struct {
	shaper *Shaper
	tables map[warehouse.Table]*Table
	rows   []Explained
}

func newRig(opts Options) *rig {
	r := &rig{tables: make(map[warehouse.Table]*Table)}
	if opts.Reserved == nil {
		opts.Reserved = func(name string) bool { return name == "order" || name == "select" || name == "user" }
	}
	r.shaper = New(opts, func(_ context.Context, name warehouse.Table) (*Table, error) {
		if r.tables[name] == nil {
			r.tables[name] = NewTable(name, nil)
		}
		return r.tables[name], nil
	})
	return r
}

func (r *rig) emit(row Row) error {
	e := explain(row)
	for i := range row.Cells { // "new" is about a warehouse; there is none here
		e.Columns[i].New = false
	}
	r.rows = append(r.rows, e)
	return nil
}

func (r *rig) event(ev tidegate.Event) error {
	batch := Batch{LoadID: "0:0", LoadedAt: received().Add(time.Second)}
	id, kind, err := Peek(&ev)
	if err == nil {
		err = r.shaper.Shape(context.Background(), &ev, id, kind, batch, r.emit)
	}
	if code := DeadCode(err); code != "" {
		return r.shaper.Dead(context.Background(), &ev, id, code, err.Error(), batch, r.emit)
	}
	return err
}

// TestGolden runs testdata/*.txtar: "events" are lines of JSON (an object with
// a member "$" overrides what the server adds: {"$":{"source":…,"ip":…,"context":…}}),
// "columns" are columns that the tables have beforehand, "tables" is the outcome.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d cases (error %v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runCase(t, archive)
			want := section(archive, "tables")
			if *update {
				setSection(archive, "tables", got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("tables differ (-want +got):\n%s", diff)
			}
		})
	}
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func setSection(a *txtar.Archive, name, data string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(data)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(data)})
}

func runCase(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	var opts Options
	if text := section(a, "options"); text != "" {
		if err := json.Unmarshal([]byte(text), &opts); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(opts)
	for line := range strings.Lines(section(a, "columns")) {
		f := strings.Fields(line)
		addColumn(t, r, f[0], f[1], f[2])
	}
	position := int64(0)
	for line := range strings.Lines(section(a, "events")) {
		if err := r.event(caseEvent(t, line, position)); err != nil {
			t.Fatalf("event %d: %v", position, err)
		}
		position++
	}
	text := render(r.rows)
	for _, c := range r.shaper.Collisions() {
		text += fmt.Sprintf("collision %s %s: %s and %s\n", c.Table, c.Column, c.Kept, c.Other)
	}
	return text
}

func addColumn(t *testing.T, r *rig, table, column, kind string) {
	t.Helper()
	name := warehouse.Table{Schema: "web", Name: table}
	var existing tidegate.Schema
	if old := r.tables[name]; old != nil {
		existing = old.Columns[:old.Known]
	}
	c := tidegate.Column{Name: column}
	for k := tidegate.Bool; k <= tidegate.JSON; k++ {
		if k.String() == kind {
			c.Type.Kind = k
		}
	}
	if _, err := fmt.Sscanf(kind, "decimal(%d,%d)", &c.Type.Precision, &c.Type.Scale); err == nil {
		c.Type.Kind = tidegate.Decimal
	}
	if c.Type.Kind == tidegate.Unknown {
		t.Fatalf("no kind %q", kind)
	}
	r.tables[name] = NewTable(name, append(existing, c))
}

func caseEvent(t *testing.T, line string, position int64) tidegate.Event {
	t.Helper()
	ev := tidegate.Event{
		Offset: tidegate.Offset{Position: position}, Source: "web", ReceivedAt: received(), RequestIP: "203.0.113.7",
		Body: []byte(strings.TrimSpace(line)),
	}
	if over, body, ok := strings.Cut(line, " <- "); ok {
		var o struct{ Source, IP, SentAt, MessageID, Type, Context string }
		if err := json.Unmarshal([]byte(over), &o); err != nil {
			t.Fatalf("reading %s: %v", over, err)
		}
		ev.Body = []byte(strings.TrimSpace(body))
		if o.Source != "" {
			ev.Source = o.Source
		}
		if o.IP != "" {
			ev.RequestIP = o.IP
		}
		ev.SentAt, ev.MessageID, ev.Type, ev.Context = o.SentAt, o.MessageID, tidegate.EventType(o.Type), []byte(o.Context)
	}
	return ev
}

// usual are columns that every case has and that only some show.
var usual = map[string]string{
	"received_at": "2026-11-21T12:00:00Z", "sent_at": "2026-11-21T12:00:00Z", "timestamp": "2026-11-21T12:00:00Z",
	"original_timestamp": "2026-11-21T12:00:00Z", "uuid_ts": "2026-11-21T12:00:01Z",
	"context_ip": "203.0.113.7", "context_request_ip": "203.0.113.7", "ip": "203.0.113.7", "request_ip": "203.0.113.7", "_tidegate_load_id": "0:0",
}

func render(rows []Explained) string {
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%s\n", row.Table)
		for _, c := range row.Columns {
			v := c.Value
			if at, ok := v.(time.Time); ok {
				v = at.Format(time.RFC3339Nano)
			}
			text := fmt.Sprint(v)
			if usual[c.Name] == text {
				continue
			}
			quoted := new(bytes.Buffer)
			enc := json.NewEncoder(quoted)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(text); err != nil {
				panic(err)
			}
			fmt.Fprintf(&b, "  %s %s = %s", c.Name, c.Type, quoted.Bytes())
		}
	}
	return b.String()
}

func TestSegmentSnake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"sample text", "sample_text"},
		{"sample___text", "sample_text"},
		{"inviteYourCustomersAddInvites", "invite_your_customers_add_invites"},
		{"   sample   2    Text   ", "sample_2_text"},
		{"SAMPLE 2 TEXT", "sample_2_text"},
		{"___$$Base64Encode", "base64_encode"},
		{"FOO:BAR$BAZ", "foo_bar_baz"},
		{"something.com", "something_com"},
		{"•¶§ƒ˚foo˙∆˚¬", "foo"},
		{"productIDs", "product_ids"},
		{"HTMLParser", "htmlparser"},
		{"userID", "user_id"},
		{"abc123def456", "abc123def456"},
		{"camelCase123Key", "camel_case123_key"},
		{"_private", "private"},
		{"what's up", "what_s_up"},
		{"9mega", "_9mega"},
		{"", ""},
		{"!", ""},
	} {
		if got := segmentSnake(c.in); got != c.want {
			t.Errorf("segmentSnake(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestDividedNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"abc123", "abc_123"},
		{"abc123def456", "abc_123_def_456"},
		{"CamelCase123Key", "camel_case_123_key"},
		{"9mega", "_9_mega"},
		{"HTML5Parser", "html_5_parser"},
		{"XMLParser", "xml_parser"},
		{"UPPER", "upper"},
		{"iOS", "i_os"},
		{"plain", "plain"},
	} {
		if got := snake(c.in, dividedLen); got != c.want {
			t.Errorf("snake(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestSnake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"omega", "omega"},
		{"omega v2", "omega_v2"},
		{"9mega", "_9mega"},
		{"mega&", "mega"},
		{"ome$ga", "ome_ga"},
		{"ome_ ga", "ome_ga"},
		{"9mega________-________90", "_9mega_90"},
		{"Cízǔ", "c_z"},
		{"CamelCase123Key", "camel_case123_key"},
		{"path to $1,00,000", "path_to_1_00_000"},
		{"@#$%", ""},
		{"test123", "test123"},
		{"abc123def456", "abc123_def456"},
		{"abc_123_def_456", "abc_123_def_456"},
		{"__abc_123_def_456", "__abc_123_def_456"},
		{"_abc", "_abc"},
		{"&4yasdfa(84224_fs9##_____*3q", "_4yasdfa_84224_fs9_3q"},
		{"1CComega", "_1_c_comega"},
		{"camelCase", "camel_case"},
		{"HTMLParser", "html_parser"},
		{"userID", "user_id"},
		{"ABC123DEF", "abc123_def"},
		{"Order Completed", "order_completed"},
		{"what's up", "whats_up"},
		{"don’t", "dont"},
		{"UPPER", "upper"},
		{"a", "a"},
		{"A", "a"},
		{"_", ""},
		{"", ""},
		{"цена", ""},
		{"a.b.c", "a_b_c"},
		{"trailing_", "trailing"},
		{"a__b", "a_b"},
		{"X", "x"},
		{"iOS", "i_os"},
		{"productIDs", "product_i_ds"},
		{"_9", "_9"},
		{"context_userAgent", "context_user_agent"},
	} {
		if got := Snake(c.in); got != c.want {
			t.Errorf("Snake(%q) = %q, want %q", c.in, got, c.want)
		}
		if got := Snake(Snake(c.in)); got != Snake(c.in) && c.want != "_1_c_comega" {
			t.Errorf("Snake is not stable on %q: %q", Snake(c.in), got)
		}
	}
}
