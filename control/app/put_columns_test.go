package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/internal/config"
)

// TestASyncIsNotDefinedOverColumnsThatAreNotThere: who maps a column that the model lacks is told when
// the sync is defined; a model that cannot be read yet stands in nobody's way.
func TestASyncIsNotDefinedOverColumnsThatAreNotThere(t *testing.T) {
	t.Parallel()
	a, end := running(t, options(t, oneSource+`destinations: [{name: hook, kind: webhook, config: {url: "https://example.com"}}]
models:
  - {name: people, sql: "select 1 as id, 'a' as email", primary_key: [id]}
  - {name: later, sql: "select * from not_there_yet", primary_key: [id]}
`))
	defer end()
	put := func(model, column string) error {
		body := fmt.Sprintf(`{"model":%q,"destination":"hook","object":"records","mapping":{"identifier":"id","fields":[{"field":"id","column":"id"},{"field":"mail","column":%q}]}}`, model, column)
		_, err := a.Catalog.Put(t.Context(), "sync", "crm", json.RawMessage(body), "test", catalog.AnyVersion)
		return err
	}
	var invalid *config.Error
	if err := put("people", "emial"); !errors.As(err, &invalid) || invalid.Error() != `sync crm: mapping.fields[1].column: the model has no column "emial" (did you mean "email"? It has email, id)` {
		t.Errorf("a column that is not there: %v", err)
	}
	if err := put("people", "email"); err != nil {
		t.Errorf("one that is: %v", err)
	}
	if err := put("later", "email"); err != nil {
		t.Errorf("one of a model that reads what is not there yet: %v", err)
	}
}
