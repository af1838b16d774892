package model

import "strings"

// lookupPrefix begins the names of the columns that lookups add.
const lookupPrefix = "_lookup_"

// IsLookupColumn says whether a column of a schema was added by a lookup and is
// not the model's own.
func IsLookupColumn(name string) bool { return strings.HasPrefix(name, lookupPrefix) }
