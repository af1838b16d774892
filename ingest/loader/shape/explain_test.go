package shape

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	describe := func(name warehouse.Table) (tidegate.Schema, error) {
		if name.Name != "e" {
			return nil, nil
		}
		return tidegate.Schema{column("id", tidegate.String), column("price", tidegate.Int)}, nil
	}
	ev := tidegate.Event{Source: "web", ReceivedAt: received(), Body: []byte(`{"type":"track","event":"e","messageId":"m","userId":"u","properties":{"price":1.5,"new":true}}`)}
	rows, err := Explain(ev, Options{}, received(), describe)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	columns := make(map[string]ExplainedColumn)
	for _, row := range rows {
		tables = append(tables, row.Table)
		if row.Table == "web.e" {
			for _, c := range row.Columns {
				columns[c.Name] = c
			}
		}
	}
	if diff := cmp.Diff([]string{"web.tracks", "web.e", "web.tidegate_discards"}, tables); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	for _, want := range []ExplainedColumn{
		{Name: "id", Type: "string", Value: "m"},
		{Name: "new", Type: "bool", Value: true, New: true},
		{Name: "_unmapped", Type: "json", Value: tidegate.JSONText(`{"price":1.5}`), New: true},
	} {
		if diff := cmp.Diff(want, columns[want.Name]); diff != "" {
			t.Errorf("column %s (-want +got):\n%s", want.Name, diff)
		}
	}
	if _, err := json.Marshal(rows); err != nil {
		t.Error(err)
	}

	for body, code := range map[string]string{`[]`: CodeUndecodable, `{"type":"x"}`: CodeType} {
		ev.Body = []byte(body)
		rows, err := Explain(ev, Options{}, received(), nil)
		if err != nil || len(rows) != 1 || rows[0].Table != "web.tidegate_dead_letters" || rows[0].Columns[4].Value != code {
			t.Errorf("%s: %+v, %v", body, rows, err)
		}
	}
	ev.Body = []byte(`{"type":"page","userId":"u"}`)
	planted := errors.New("planted")
	if _, err := Explain(ev, Options{}, received(), func(warehouse.Table) (tidegate.Schema, error) { return nil, planted }); !errors.Is(err, planted) {
		t.Errorf("error %v", err)
	}
}
