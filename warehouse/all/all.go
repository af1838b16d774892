// Package all lists the warehouses that are built in. It is a list and nothing
// else: no state, no registration by import.
package all

import (
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/clickhouse"
	"github.com/tidegate/tidegate/warehouse/duckdb"
	"github.com/tidegate/tidegate/warehouse/postgres"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/snowflake"
)

// All returns every kind, sorted by name.
func All() []warehouse.Kind {
	return []warehouse.Kind{
		bigquery.Kind(),
		clickhouse.Kind(),
		duckdb.Kind(),
		postgres.Kind(),
		redshift.Kind(),
		snowflake.Kind(),
	}
}

// Find returns the kind called name.
func Find(name string) (warehouse.Kind, bool) {
	for _, k := range All() {
		if k.Name == name {
			return k, true
		}
	}
	return warehouse.Kind{}, false
}
