// Package webhook delivers rows to any HTTP endpoint.
//
// Purpose: turn plans of one sync into HTTP calls - one record a call, or many
// records in one body - sign or authenticate them, and turn the answers back
// into one outcome for each plan.
package webhook
