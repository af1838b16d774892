// Package runner delivers the changes of a sync.
package runner
