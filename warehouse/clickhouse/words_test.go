package clickhouse_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/sqltext"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// TestReservedWords: of all words of the engine's grammar, those that are not a column
// wherever one can stand are reserved by the dialect.
func TestReservedWords(t *testing.T) {
	t.Parallel()
	w := open(t, config(server(t)))
	defer w.Close()
	d := sqltext.ClickHouse()
	var missing []string
	seen := map[string]bool{}
	for _, row := range warehousetest.Rows(t, w, "SELECT DISTINCT lower(arrayJoin(splitByChar(' ', keyword))) FROM system.keywords") {
		word, _ := row[0].(string)
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" || word == "" {
			continue
		}
		seen[word] = true
		if !d.Reserved(word) && !bare(t, w, word) {
			missing = append(missing, word)
		}
	}
	if len(seen) < 300 {
		t.Errorf("the engine named only %d words", len(seen))
	}
	if slices.Sort(missing); len(missing) > 0 {
		t.Errorf("the engine does not take these words as columns, and the dialect does not reserve them: %s", missing)
	}
}

// bare says whether word is a column wherever a column can stand, without quotes.
func bare(t *testing.T, w *clickhouse.Warehouse, word string) bool {
	t.Helper()
	sql := fmt.Sprintf(`SELECT %[1]s, %[1]s AS x_1, q.%[1]s AS x_2, max(%[1]s) AS x_3 FROM (SELECT 7 AS "%[1]s") AS q WHERE %[1]s = 7 AND %[1]s < 8 GROUP BY %[1]s ORDER BY %[1]s`, word)
	r, err := w.Query(t.Context(), sql)
	if err != nil {
		return false
	}
	row, err := r.Next(t.Context())
	for _, v := range row {
		if v != int64(7) {
			err = fmt.Errorf("%s is %v", word, v)
		}
	}
	return errors.Join(err, r.Close()) == nil
}
