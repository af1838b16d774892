// Package tidegate holds the nouns that every other package speaks: events,
// typed rows, changes, definitions, runs and faults.
//
// It is floor 0 of the house (see floors_test.go): it imports the standard
// library only, does no I/O and starts no goroutine. All its types are plain
// values; none of them is safe for concurrent mutation, all are safe for
// concurrent reading.
package tidegate
