package project

import (
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/mapping"
)

// furtherWarehouses checks the warehouses that only models read from.
func (c *checker) furtherWarehouses() {
	unique(c, c.warehouses, "warehouse", func(v tidegate.Connection) string { return v.Name })
	for _, it := range c.warehouses {
		if it.value.Name == KindWarehouse {
			c.add(it.problem("name", fmt.Sprintf("%q means the one that events go to", KindWarehouse), "choose another name"))
		}
		c.connector(it.doc, it.value.Kind, c.kinds.Warehouses, "warehouse")
	}
	for _, it := range c.dbt {
		knownWarehouse(c, it, it.value.Warehouse)
	}
}

func knownWarehouse[T any](c *checker, it item[T], name string) {
	known := names(c.warehouses, func(v tidegate.Connection) string { return v.Name })
	for _, k := range known {
		if k == name {
			return
		}
	}
	switch {
	case name == "":
	case len(known) == 0:
		c.add(it.problem("warehouse", fmt.Sprintf("there is no warehouse %q", name), "the project has no further warehouses: add `warehouses: [{name: "+name+", kind: …}]` to "+File))
	default:
		c.add(it.problem("warehouse", fmt.Sprintf("there is no warehouse %q", name), config.DidYouMean(name, known)))
	}
}

// modelWarehouse checks where a model is read from.
func (c *checker) modelWarehouse(it item[tidegate.Model]) {
	m := it.value
	knownWarehouse(c, it, m.Warehouse)
	if m.File != "" && m.Warehouse != "" {
		c.add(it.problem("warehouse", "files are read into the warehouse that events go to", "remove it"))
	}
}

// oneWarehouse checks that a query never spans two warehouses: that models use and
// look up only models of their own, and that no sync waits for loads into a warehouse
// that takes none.
func (c *checker) oneWarehouse() {
	of := map[string]string{}
	for _, it := range c.models {
		of[it.value.Name] = it.value.Warehouse
	}
	called := func(name string) string {
		if name == "" {
			return "the one that events go to"
		}
		return fmt.Sprintf("%q", name)
	}
	for _, it := range c.models {
		for i, used := range it.value.Uses {
			if other, ok := of[used]; ok && other != it.value.Warehouse {
				c.add(it.problem(fmt.Sprintf("uses[%d]", i), fmt.Sprintf("the model %q is in another warehouse, %s", used, called(other)), "a query reads one warehouse: bring the rows together there first"))
			}
		}
	}
	for _, it := range c.syncs {
		own, ok := of[it.value.Model]
		if !ok {
			continue
		}
		for _, j := range mapping.Joins(it.value.Mapping) {
			if other, ok := of[j.Lookup.Model]; ok && other != own {
				c.add(it.problem(j.Path+".model", fmt.Sprintf("the model %q is in another warehouse, %s", j.Lookup.Model, called(other)), "a query reads one warehouse: bring the rows together there first"))
			}
		}
		if own != "" && it.value.Schedule.AfterLoad {
			c.add(it.problem("schedule.after_load", fmt.Sprintf("nothing is loaded into the warehouse %q that the model reads", own), "use cron, every, after_dbt, after_sync or a webhook"))
		}
	}
}
