// Package all lists the destinations that are built in. It is a list and
// nothing else: no state, no registration by import.
package all

import (
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/hubspot"
	"github.com/tidegate/tidegate/destinations/webhook"
)

// All returns every kind, sorted by name.
func All() []destinations.Kind {
	return []destinations.Kind{
		hubspot.Kind(),
		webhook.Kind(),
	}
}

// Find returns the kind called name.
func Find(name string) (destinations.Kind, bool) {
	for _, k := range All() {
		if k.Name == name {
			return k, true
		}
	}
	return destinations.Kind{}, false
}
