//go:build race

package runner

// raceDetector makes the simulation, which has no goroutines of its own, shorter.
const raceDetector = true
