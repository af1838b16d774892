package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
)

func results() (tidegate.Schema, []tidegate.Row) {
	of := func(name string, kind tidegate.Kind) tidegate.Column {
		return tidegate.Column{Name: name, Type: tidegate.Type{Kind: kind}}
	}
	schema := tidegate.Schema{
		of("i", tidegate.Int), of("f", tidegate.Float), of("b", tidegate.Bool), of("s", tidegate.String), of("j", tidegate.JSON), of("raw", tidegate.Bytes),
		of("day", tidegate.Date), of("moment", tidegate.Timestamp),
		{Name: "d", Type: tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}},
	}
	return schema, []tidegate.Row{
		{int64(math.MinInt64), 0.1, true, "a,\"b\"\nc", tidegate.JSONText(`{"x":[1]}`), []byte{0, 255}, tidegate.CalendarDate(-1), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC), tidegate.DecimalText("-12345678901234567890123456789.123456789")},
		{nil, nil, nil, nil, nil, nil, nil, nil, nil},
		{int64(7), math.Inf(1), false, "", tidegate.JSONText(`"text"`), []byte{}, tidegate.CalendarDate(20000), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), tidegate.DecimalText("0.000000001")},
	}
}

// write writes the results as the command does and returns the file.
func write(t *testing.T, name string) ([]byte, string) {
	t.Helper()
	var out bytes.Buffer
	c := &command{env: Env{Stdout: &out}}
	path := filepath.Join(t.TempDir(), name)
	w, err := c.fileWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.discard()
	schema, rows := results()
	if err := w.columns(api.Columns(schema)); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := w.row(api.EncodeRow(row)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file has its name before it is whole")
	}
	if err := w.finish(api.End{Count: int64(len(rows))}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, path
}

func TestResultsInText(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"r.csv": `i,f,b,s,j,raw,day,moment,d
-9223372036854775808,0.1,true,"a,""b""
c","{""x"":[1]}",AP8=,1969-12-31,1969-12-31T23:59:59.999999Z,-12345678901234567890123456789.123456789
,,,,,,,,
7,+Inf,false,,text,,2024-10-04,2026-11-21T00:00:00Z,0.000000001
`,
		"r.ndjson": `{"i":-9223372036854775808,"f":0.1,"b":true,"s":"a,\"b\"\nc","j":{"x":[1]},"raw":"AP8=","day":"1969-12-31","moment":"1969-12-31T23:59:59.999999Z","d":"-12345678901234567890123456789.123456789"}
{"i":null,"f":null,"b":null,"s":null,"j":null,"raw":null,"day":null,"moment":null,"d":null}
{"i":7,"f":"+Inf","b":false,"s":"","j":"text","raw":"","day":"2024-10-04","moment":"2026-11-21T00:00:00Z","d":"0.000000001"}
`,
	} {
		data, _ := write(t, name)
		if d := cmp.Diff(want, string(data)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestResultsInParquet(t *testing.T) {
	t.Parallel()
	_, path := write(t, "r.parquet")
	reader, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	arrowReader, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := arrowReader.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	var got []string
	for i := range int(table.NumCols()) {
		column := table.Column(i)
		values, err := json.Marshal(column.Data().Chunk(0))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, column.Name()+" "+column.DataType().String()+" "+string(values))
	}
	want := []string{
		`i int64 [-9223372036854775808,null,7]`,
		`f float64 [0.1,null,"+Inf"]`,
		`b bool [true,null,false]`,
		`s utf8 ["a,\"b\"\nc",null,""]`,
		`j utf8 ["{\"x\":[1]}",null,"text"]`,
		`raw binary ["AP8=",null,""]`,
		`day date32 ["1969-12-31",null,"2024-10-04"]`,
		`moment timestamp[us, tz=UTC] ["1969-12-31T23:59:59.999999Z",null,"2026-11-21T00:00:00Z"]`,
		`d decimal(38, 9) ["-12345678901234567890123456789.123456789",null,"1e-09"]`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAFileThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &command{}
	w, err := c.fileWriter(filepath.Join(dir, "r.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.columns([]api.ColumnInfo{{Name: "n", Type: "int"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.row([]json.RawMessage{[]byte(`"no number"`)}); err == nil {
		t.Error("a text went into a column of numbers")
	}
	w.discard()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
