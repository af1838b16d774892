package runner

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// itemSize bounds the JSON encoding of u from above well enough to keep a batch
// inside Limit.Bytes, without encoding it: the envelope that a connector puts
// around a record is taken as 96 bytes.
func itemSize(u *unit) int {
	record := u.After
	if u.Op == tidegate.Removed {
		record = u.Before
	}
	n := 96 + destinations.JSONSize(u.Identifier) + destinations.JSONSize(u.DestinationID) + destinations.JSONSize(u.IdempotencyKey)
	for field, value := range record {
		n += destinations.JSONSize(field) + 2 + destinations.JSONSize(value)
	}
	return n
}
