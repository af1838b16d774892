package transform

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // to compare with
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"testing"
)

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func sha1Of(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // to compare with
	return hex.EncodeToString(sum[:])
}

// places is a database in MaxMind's format that knows 203.0.113.0/24: a binary tree of
// 24-bit records, sixteen zero bytes, data, and the metadata behind their mark.
func places(t testing.TB) []byte {
	t.Helper()
	prefix := netip.MustParsePrefix("203.0.113.0/24")
	bits, nodes := prefix.Addr().As4(), prefix.Bits()
	var tree bytes.Buffer
	record := func(v int) { tree.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)}) }
	for i := range nodes {
		next := i + 1
		if next == nodes {
			next = nodes + 16 // the data's first byte
		}
		if bits[i/8]>>(7-i%8)&1 == 0 {
			record(next)
			record(nodes)
		} else {
			record(nodes) // nothing there
			record(next)
		}
	}
	data := object(
		"country", object("iso_code", text("DE"), "names", object("en", text("Germany"))),
		"city", object("names", object("en", text("Berlin"))),
		"location", object("latitude", double(52.5)),
	)
	meta := object(
		"node_count", number(6, uint64(nodes)), "record_size", number(5, 24), "ip_version", number(5, 4), "database_type", text("Test"), "languages", []byte{0, 4},
		"binary_format_major_version", number(5, 2), "binary_format_minor_version", number(5, 0), "build_epoch", number(9, 1), "description", object(),
	)
	return bytes.Join([][]byte{tree.Bytes(), make([]byte, 16), data, []byte("\xab\xcd\xefMaxMind.com"), meta}, nil)
}

func text(s string) []byte { return append([]byte{2<<5 | byte(len(s))}, s...) }

func double(f float64) []byte {
	return binary.BigEndian.AppendUint64([]byte{3<<5 | 8}, math.Float64bits(f))
}

// number is an unsigned number of a type of the format.
func number(kind byte, v uint64) []byte {
	b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, v), "\x00")
	if kind > 7 {
		return append([]byte{byte(len(b)), kind - 7}, b...)
	}
	return append([]byte{kind<<5 | byte(len(b))}, b...)
}

// object is a map of names and encoded values.
func object(pairs ...any) []byte {
	b := []byte{7<<5 | byte(len(pairs)/2)}
	for i := 0; i < len(pairs); i += 2 {
		b = append(append(b, text(pairs[i].(string))...), pairs[i+1].([]byte)...)
	}
	return b
}
