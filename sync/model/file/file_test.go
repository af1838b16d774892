package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock moves on by a millisecond with every look at it.
func clock() func() time.Time {
	at := time.UnixMilli(1_700_000_000_000)
	return func() time.Time { at = at.Add(time.Millisecond); return at }
}

func open(t *testing.T) *duckdb.Warehouse {
	t.Helper()
	wh, err := duckdb.Open(t.Context(), duckdb.Options{Path: filepath.Join(t.TempDir(), "w.duckdb"), Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wh.Close() })
	return wh
}

func def(file string) tidegate.Model {
	return tidegate.Model{Name: "people", File: file, PrimaryKey: []string{"id"}}
}

// inspected reads a text file as the loader would, without a warehouse.
func inspected(ctx context.Context, name, text string) (schema tidegate.Schema, rows []string, err error) {
	f, err := fstest.MapFS{name: {Data: []byte(text)}}.Open(name)
	if err != nil {
		return nil, nil, err
	}
	src, err := inspect(ctx, def(name), f)
	if err != nil {
		return nil, nil, err
	}
	reader, err := src.rows(ctx)
	if err != nil {
		return nil, nil, err
	}
	for {
		row, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return src.schema, rows, nil
		}
		if err != nil {
			return nil, nil, err
		}
		line, err := model.KeyOf(row)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, string(line))
	}
}

func kinds(s tidegate.Schema) string {
	var all []string
	for _, c := range s {
		all = append(all, c.Name+" "+c.Type.String())
	}
	return strings.Join(all, ", ")
}

func TestCSV(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, kinds, rows string }{
		{
			"kinds", "i,d,f,b,day,at,s,zip\n1,1.50,1e3,true,2024-02-29,2024-02-29T12:00:00+02:00,x,01099\n-2,3,2,FALSE,2023-01-01,2024-02-29,\"a,\"\"b\",10115\n,,,,,,,\n",
			"i int, d decimal(2,1), f float, b bool, day date, at timestamp, s string, zip string",
			`[1,"1.5",1000.0,true,"2024-02-29","2024-02-29T10:00:00.000000Z","x","01099"] [-2,"3",2.0,false,"2023-01-01","2024-02-29T00:00:00.000000Z","a,\"b","10115"] [null,null,null,null,null,null,null,null]`,
		},
		{"semicolons", "a;b\r\n1;x,y\r\n", "a int, b string", `[1,"x,y"]`},
		{"bars and a mark", "\xef\xbb\xbfa|b\n1|2\n", "a int, b int", "[1,2]"},
		{"no rows", "a,b\n", "a string, b string", ""},
		{"large numbers", "a,b,c\n9223372036854775808,0.10,123456789012345678901234567890123456789\n", "a decimal(19,0), b decimal(1,1), c string", `["9223372036854775808","0.1","123456789012345678901234567890123456789"]`},
		{"mixed", "a,b,c\n1,2024-01-01,true\nx,later,1\n", "a string, b string, c string", `["1","2024-01-01","true"] ["x","later","1"]`},
		{"no numbers", "a,b,c,d,e,f\n+1,1.,.5,0x1,inf,1_0\n", "a string, b string, c string, d string, e string, f string", `["+1","1.",".5","0x1","inf","1_0"]`},
		{"zeros", "a,b\n-0,0.0\n0,-0.00\n", "a int, b decimal(1,0)", `[0,"0"] [0,"0"]`},
		{"lines in a cell", "a,b\n\"x\ny\",1\n", "a string, b int", `["x\ny",1]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			schema, rows, err := inspected(t.Context(), "people.csv", tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.kinds, kinds(schema)); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tc.rows, strings.Join(rows, " ")); d != "" {
				t.Error(d)
			}
		})
	}
	if schema, rows, err := inspected(t.Context(), "people.tsv", "a\tb\n1\tx,;|\n"); err != nil || kinds(schema) != "a int, b string" || rows[0] != `[1,"x,;|"]` {
		t.Error(schema, rows, err)
	}
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	schema, rows, err := inspected(t.Context(), "people.jsonl", "\xef\xbb\xbf"+`{"id":1,"n":1,"s":"x","b":true,"j":{"b":1,"a":2},"m":"x","z":null}`+"\n\n"+`{"id":2,"n":1.5,"m":[1],"b":null}`+"\r\n"+`{"id":3,"x":5,"s":7,"m":true}`)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("b bool, id int, j json, m json, n float, s string, x int, z string", kinds(schema)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`[true,1,{"a":2,"b":1},"x",1.0,"x",null,null]`, `[null,2,null,[1],1.5,null,null,null]`, `[null,3,null,true,null,"7",5,null]`}, rows); d != "" {
		t.Error(d)
	}
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ file, text, want string }{
		{"a.csv", "", "the file is empty"},
		{"a.csv", "a,A\n", `two columns are called "A"`},
		{"a.csv", "a,\n", "column 2 has no name"},
		{"a.csv", "a,b\n1\n", "line 2 has 1 cells, the first line has 2"},
		{"a.csv", "a,b\n1,\"x\n", "line"},
		{"a.csv", "a,b\n1,x\"y\n", "line 2: bare"},
		{"a.csv", "a\n\xff\n", `line 2, column "a": the text is not UTF-8`},
		{"a.csv", "a\nx\x00\n", "NUL"},
		{"a.csv", "a\n\"" + strings.Repeat("x\n", guardSize), "a quote is probably not closed"},
		{"a.csv", strings.Repeat("a", model.MaxColumns) + strings.Repeat(",x", 2) + "\n", "two columns"},
		{"a.ndjson", "", "holds no object"},
		{"a.ndjson", "{}\n{\n", "line 2: reading JSON"},
		{"a.ndjson", "[1]\n", "line 1: it is not an object"},
		{"a.ndjson", `{"a":"` + strings.Repeat("x", model.MaxRowBytes) + `"}`, "line 1 is longer than"},
		{"a.ndjson", `{"a":"\u0000"}`, "NUL"},
		{"a.parquet", "PAR1 but nothing of it PAR1", "not a Parquet file"},
		{"a.parquet", "", "not a Parquet file"},
		{"a.xls", "", `files ending in ".xls" cannot be read`},
	} {
		_, _, err := inspected(t.Context(), tc.file, tc.text)
		f := tidegate.FaultOf(err)
		if err == nil || f.Action != tidegate.Halt || f.Code != "model.file" || !strings.Contains(f.Message, tc.want) || f.Subject != "model people: file "+tc.file {
			t.Errorf("%s %.20q: %v, want %s", tc.file, tc.text, err, tc.want)
		}
	}
}

// parquetFile holds a row of every type and one of nulls.
func parquetFile(t *testing.T) []byte {
	t.Helper()
	mem := memory.DefaultAllocator
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "x", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ns, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "u", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
	}, nil)
	text := `[{"id":7,"b":true,"f":1.5,"d":"12.50","s":"ü","x":"AQI=","day":"2024-02-29","at":"2024-02-29T12:00:00.000001Z","l":[1,2],"u":18446744073709551615},{}]`
	batch, _, err := array.RecordFromJSON(mem, schema, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestParquet(t *testing.T) {
	t.Parallel()
	schema, rows, err := inspected(t.Context(), "people.parquet", string(parquetFile(t)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("id int, b bool, f float, d decimal(10,2), s string, x bytes, day date, at timestamp, l json, u decimal(20,0)", kinds(schema)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`[7,true,1.5,"12.5","ü","AQI=","2024-02-29","2024-02-29T12:00:00.000001Z",[1,2],"18446744073709551615"]`, `[null,null,null,null,null,null,null,null,null,null]`}, rows); d != "" {
		t.Error(d)
	}
	cut := parquetFile(t)
	for n := range cut { // whatever a torn download left
		if _, _, err := inspected(t.Context(), "people.parquet", string(cut[:n])); err == nil {
			t.Fatalf("the first %d of %d bytes were read as a file", n, len(cut))
		}
	}
}

func count(t *testing.T, wh warehouse.Warehouse, sql string) int64 {
	t.Helper()
	rows, err := wh.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	row, err := rows.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return row[0].(int64)
}

func TestLoader(t *testing.T) {
	t.Parallel()
	wh, dir := open(t), t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at := time.Unix(1_700_000_000, 0)
	write := func(text string) {
		t.Helper()
		path := filepath.Join(dir, "people.csv")
		at = at.Add(time.Second)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	now := clock()
	l := New(wh, root.FS(), now, nil)
	table := func(l *Loader) warehouse.Table {
		t.Helper()
		got, err := l.Table(t.Context(), def("./people.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	write("id,name\n1,Ada\n2,Bob\n")
	first := table(l)
	if again := table(l); again != first {
		t.Error("loaded twice: ", again)
	}
	if again := table(New(wh, root.FS(), now, nil)); again != first {
		t.Error("another process loaded it again: ", again)
	}
	write("id,name\n1,Ada\n2,Bob\n") // touched
	if again := table(l); again != first {
		t.Error("equal content was loaded again: ", again)
	}
	if n := count(t, wh, "SELECT count(*) FROM "+first.String()); n != 2 {
		t.Error(n)
	}
	write("id,name,age\n1,Ada,36\n")
	second := table(l)
	if n := count(t, wh, "SELECT sum(age)::BIGINT FROM "+second.String()); second == first || n != 36 {
		t.Error(second, n)
	}
	if n := count(t, wh, "SELECT count(*) FROM "+first.String()); n != 2 { // a run may still read it
		t.Error(n)
	}
	write("id,name\n1,Ada\n2,Bob\n") // as it was at first
	third := table(l)
	if n := count(t, wh, "SELECT count(*) FROM "+third.String()); n != 2 {
		t.Error(third, n)
	}
	if _, err := wh.Describe(t.Context(), first); third != first && !errors.Is(err, warehouse.ErrNoTable) {
		t.Error("the table before the last stays: ", err)
	}
	if _, err := wh.Exec(t.Context(), "DROP TABLE "+third.String()); err != nil {
		t.Fatal(err)
	}
	if fourth := table(l); count(t, wh, "SELECT count(*) FROM "+fourth.String()) != 2 {
		t.Error("a table that somebody dropped was not loaded again")
	}
	for file, want := range map[string]string{"missing.csv": "does not exist", "../people.csv": "leads out", "/etc/passwd": "leads out", ".": "folder"} {
		if _, err := l.Table(t.Context(), def(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	write("id\n1\nx\"\n")
	if _, err := l.Table(t.Context(), def("people.csv")); tidegate.FaultOf(err).Code != "model.file" {
		t.Error(err)
	}
	if n := count(t, wh, "SELECT count(*) FROM _tidegate_files._files"); n != 1 {
		t.Error(n)
	}
}

func TestModelOfAFile(t *testing.T) {
	t.Parallel()
	wh := open(t)
	l := New(wh, fstest.MapFS{"data/people.csv": {Data: []byte("id,name,changed\n1,Ada,2024-01-01\n2,Bob,2024-01-02\n")}}, clock(), nil)
	c := model.Catalog{File: l.Table, Models: map[string]tidegate.Model{
		"people": def("data/people.csv"),
		"upper":  {Name: "upper", SQL: "SELECT id, upper(name) AS name FROM people", Uses: []string{"people"}, PrimaryKey: []string{"id"}},
	}}
	for name, want := range map[string]string{"people": "id int, name string, changed date", "upper": "id int, name string"} {
		m, err := c.Compile(t.Context(), wh, name)
		if err != nil || kinds(m.Schema) != want || len(m.Tables) != 1 || m.Tables[0].Schema != Schema {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

func TestInspectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := inspected(ctx, "a.csv", "a\n1\n"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzCSV: no file ends the process, and one that the first pass understood is read by the second.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "a;b\n\"x\ny\";2024-01-01\n", "a\n1e5\n-0\n", "\xef\xbb\xbfa\n", "a,b\n,\n", "a\n0.10\n2\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { secondPass(t, "a.csv", text) })
}

func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":[1]}` + "\n" + `{"a":"x"}`, `{"a":1.5}` + "\n" + `{"a":1}`, `{"a":18446744073709551615}`, "{}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { secondPass(t, "a.ndjson", text) })
}

func secondPass(t *testing.T, name, text string) {
	t.Helper()
	f, err := fstest.MapFS{name: {Data: []byte(text)}}.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	src, err := inspect(t.Context(), def(name), f)
	if err != nil {
		return
	}
	rows, err := src.rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for {
		row, err := rows.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			if strings.Contains(err.Error(), "NUL") || strings.Contains(err.Error(), "UTF-8") {
				return
			}
			t.Fatal(err)
		}
		for i, c := range row {
			if _, err := model.Value(c); err != nil && src.schema[i].Type.Kind != tidegate.Timestamp && src.schema[i].Type.Kind != tidegate.Date {
				t.Fatalf("%s: %v", src.schema[i].Name, err)
			}
		}
	}
}

func BenchmarkCSV(b *testing.B) {
	var text strings.Builder
	text.WriteString("id,name,email,amount,day\n")
	for i := range 100_000 {
		fmt.Fprintf(&text, "%d,Person %d,person%d@example.com,%d.50,2024-02-%02d\n", i, i, i, i%1000, i%28+1)
	}
	f := fstest.MapFS{"a.csv": {Data: []byte(text.String())}}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		file, err := f.Open("a.csv")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := inspect(b.Context(), def("a.csv"), file); err != nil {
			b.Fatal(err)
		}
	}
}
