// Package bench measures the SDK beside gopkg.in/segmentio/analytics-go.v3 in one
// run. It is a module of its own so that the SDK depends on nothing.
package bench
