// Package segment is the format of the journal's files.
package segment

// MaxPayload is the largest payload that the format can carry.
const MaxPayload = 1 << 30
