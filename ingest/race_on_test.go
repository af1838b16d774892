//go:build race

package ingest

// underRace: the race detector makes pools forget at random.
const underRace = true
