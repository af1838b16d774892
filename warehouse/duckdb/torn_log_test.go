package duckdb

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// log is one as the engine writes it: head, then entries of these kinds.
func logOf(head string, kinds ...byte) []byte {
	b := []byte(head)
	for _, kind := range kinds {
		payload := []byte{fieldKind, 0, kind, 0xff, 0xff}
		b = binary.LittleEndian.AppendUint64(b, uint64(len(payload)))
		b = binary.LittleEndian.AppendUint64(b, 0) // the checksum is the engine's to look at
		b = append(b, payload...)
	}
	return b
}

const (
	logHead2     = "d\x00be\x00\x02\xff\xff"
	logHeadNamed = "d\x00be\x00\x02f\x00\x03\x01\xff\x01\x07g\x00\x04\xff\xff" // of a file that knows its name and how often it was checkpointed
)

func TestWholeLog(t *testing.T) {
	t.Parallel()
	const entry = 21
	for name, c := range map[string]struct {
		log  []byte
		end  int64
		torn bool
	}{
		"nothing":               {nil, 0, false},
		"a head":                {[]byte(logHead2), 0, false},
		"half a head":           {[]byte(logHead2[:5]), 0, false},
		"another version":       {logOf("d\x00be\x00\x03\xff\xff", 26), 0, false},
		"text":                  {[]byte("this is no log of any engine"), 0, false},
		"whole":                 {logOf(logHead2, 26, logFlush, 26, 26, logFlush), 8 + 5*entry, false},
		"whole, named":          {logOf(logHeadNamed, 26, logFlush), int64(len(logHeadNamed)) + 2*entry, false},
		"entries without flush": {logOf(logHead2, 26, logFlush, 26), 8 + 2*entry, true},
		"no flush at all":       {logOf(logHead2, 26), 0, true},
		"a flush cut short":     {logOf(logHead2, 26, logFlush, 26, logFlush)[:8+4*entry-1], 8 + 2*entry, true},
		"a length cut short":    {logOf(logHead2, 26, logFlush, 26, logFlush)[:8+2*entry+7], 8 + 2*entry, true},
		"no entry":              {append(logOf(logHead2, 26, logFlush), make([]byte, 40)...), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end, torn, err := wholeLog(bytes.NewReader(c.log), int64(len(c.log)))
			if err != nil || torn != c.torn || torn && end != c.end {
				t.Errorf("whole up to %d, torn %v, %v; want %d, %v", end, torn, err, c.end, c.torn)
			}
		})
	}
}

// FuzzWholeLog: whatever the bytes are, what is kept is a part of them and whole by itself.
func FuzzWholeLog(f *testing.F) {
	f.Add(logOf(logHead2, 26, logFlush, 26))
	f.Add(logOf(logHeadNamed, 26, logFlush)[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		end, torn, err := wholeLog(bytes.NewReader(b), int64(len(b)))
		if err != nil || end < 0 || end > int64(len(b)) {
			t.Fatalf("%d of %d, %v", end, len(b), err)
		}
		if !torn || end == 0 {
			return
		}
		if again, torn, err := wholeLog(bytes.NewReader(b[:end]), end); torn || again != end || err != nil {
			t.Errorf("cut at %d it is whole up to %d, torn %v, %v", end, again, torn, err)
		}
	})
}
