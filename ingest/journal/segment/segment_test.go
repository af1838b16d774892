package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testHeader = Header{Base: 1000, Created: time.Unix(0, 1_700_000_000_000_000_000), Nonce: 0x0123456789abcdef}

type record struct {
	payload string
	events  int
	durable int64
}

// build returns a segment of the records, and where each frame ends.
func build(h Header, records ...record) (file []byte, ends []int64) {
	file = h.Encode()
	position := h.Base
	for i, r := range records {
		from := len(file)
		file = AppendFrame(file, []byte(r.payload), r.events)
		events, size := h.Stamper().Stamp(file[from:], position, int64(i+1), r.durable)
		if int(events) != r.events || from+size != len(file) {
			panic("Stamp and AppendFrame disagree")
		}
		position += events
		ends = append(ends, int64(len(file)))
	}
	return file, ends
}

// three frames, of which the last two were one group.
func three() (file []byte, ends []int64) {
	return build(testHeader, record{"first frame", 3, 1000}, record{"the second", 2, 1003}, record{"and a third one", 1, 1003})
}

// outcome is what a recovery found.
type outcome struct {
	payloads []string
	firsts   []int64
	damage   []Damage
	end      int64
}

func read(tb testing.TB, file []byte) outcome {
	tb.Helper()
	h, err := ReadHeader(bytes.NewReader(file))
	if err != nil {
		tb.Fatalf("reading the header: %v", err)
	}
	rec, err := Recover(bytes.NewReader(file), int64(len(file)), h)
	if err != nil {
		tb.Fatal(err)
	}
	o := outcome{damage: rec.Damage, end: rec.End}
	s := NewScanner(bytes.NewReader(file), h, h.Start(), rec.DataEnd, rec.End)
	for {
		f, err := s.Next()
		var d *Damage
		switch {
		case errors.Is(err, io.EOF):
			return o
		case errors.As(err, &d):
		case err != nil:
			tb.Fatal(err)
		default:
			o.payloads = append(o.payloads, string(f.Payload))
			o.firsts = append(o.firsts, f.First)
		}
	}
}

func TestHeaderSurvivesTheLossOfEitherCopy(t *testing.T) {
	t.Parallel()
	file, _ := three()
	for bit := range DataStart * 8 {
		bad := bytes.Clone(file)
		bad[bit/8] ^= 1 << (bit % 8)
		if got := read(t, bad); len(got.payloads) != 3 {
			t.Fatalf("bit %d: %+v", bit, got)
		}
	}
	clear(file[:DataStart])
	if _, err := ReadHeader(bytes.NewReader(file)); !errors.Is(err, ErrHeader) {
		t.Errorf("both copies gone: %v", err)
	}
	if _, err := ReadHeader(bytes.NewReader(nil)); !errors.Is(err, ErrHeader) {
		t.Errorf("an empty file: %v", err)
	}
}

func TestHeaderOfANewerVersionIsNotTakenForDamage(t *testing.T) {
	t.Parallel()
	b := testHeader.Encode()
	binary.LittleEndian.PutUint32(b[8:], version+1)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	if _, err := ReadHeader(bytes.NewReader(b)); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
}

// TestTornExhaustive cuts a segment of three frames at every byte, with
// nothing, zeros, or an earlier life of the file behind the cut.
func TestTornExhaustive(t *testing.T) {
	t.Parallel()
	file, ends := three()
	earlier, _ := build(Header{Base: 1000, Nonce: 7}, record{"FIRST FRAME", 3, 1000}, record{"THE SECOND", 2, 1000}, record{"AND A THIRD ONE", 1, 1000}, record{"more", 1, 1000})
	for cut := DataStart; cut <= len(file); cut++ {
		whole := 0
		for whole < 3 && ends[whole] <= int64(cut) {
			whole++
		}
		for name, tail := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 300), "an earlier life": earlier[min(cut, len(earlier)):]} {
			got := read(t, append(bytes.Clone(file[:cut]), tail...))
			if len(got.payloads) != whole || len(got.damage) > 0 {
				t.Fatalf("cut at %d before %s: %+v, want %d frames and no damage", cut, name, got, whole)
			}
		}
	}
}

// TestEveryBitFlip flips every bit of three frames. A frame before one that
// proves that it had been durable is damage; what the last group alone knew of
// is a torn tail. Nothing else may be missing, and nothing may come out changed.
func TestEveryBitFlip(t *testing.T) {
	t.Parallel()
	file, ends := three()
	want := read(t, file)
	starts := []int64{DataStart, ends[0], ends[1]}
	for bit := DataStart * 8; bit < len(file)*8; bit++ {
		bad := bytes.Clone(file)
		bad[bit/8] ^= 1 << (bit % 8)
		got := read(t, bad)
		hit := 0
		for int64(bit/8) >= ends[hit] {
			hit++
		}
		expect := outcome{payloads: want.payloads[:hit], firsts: want.firsts[:hit], end: want.firsts[hit]}
		if hit == 0 {
			expect = outcome{
				payloads: want.payloads[1:], firsts: want.firsts[1:], end: 1006,
				damage: []Damage{{From: starts[0], To: starts[1], First: 1000, Next: 1003}},
			}
		}
		if diff := cmp.Diff(expect, got, cmp.AllowUnexported(outcome{}), cmp.Transformer("empty", func(s []string) string { return fmt.Sprint(s) }),
			cmp.Transformer("noPositions", func(s []int64) string { return fmt.Sprint(s) })); diff != "" {
			t.Fatalf("bit %d of byte %d, frame %d (-want +got):\n%s", bit%8, bit/8, hit, diff)
		}
	}
}

// TestHoleInTheUnsyncedGroup is a power cut that kept the later pages of a
// group and lost the earlier ones.
func TestHoleInTheUnsyncedGroup(t *testing.T) {
	t.Parallel()
	file, ends := build(testHeader, record{"durable", 1, 1000}, record{"lost", 1, 1001}, record{"kept", 1, 1001}, record{"kept too", 1, 1001})
	clear(file[ends[0]:ends[1]])
	if got := read(t, file); got.end != 1001 || len(got.damage) > 0 || len(got.payloads) != 1 {
		t.Errorf("a hole that was never answered for: %+v", got)
	}
	rec, err := Recover(bytes.NewReader(file), int64(len(file)), testHeader)
	if err != nil || rec.TornBytes != int64(len(file))-ends[0] {
		t.Errorf("torn: %+v, %v", rec, err)
	}
	file, ends = build(testHeader, record{"durable", 1, 1000}, record{"lost", 1, 1001}, record{"kept", 1, 1001}, record{"proof", 1, 1003})
	clear(file[ends[0]:ends[1]])
	got := read(t, file)
	if diff := cmp.Diff([]Damage{{From: ends[0], To: ends[1], First: 1001, Next: 1002}}, got.damage); diff != "" || got.end != 1004 {
		t.Errorf("a hole that was answered for, end %d (-want +got):\n%s", got.end, diff)
	}
}

func TestPayloadCannotForgeAFrame(t *testing.T) {
	t.Parallel()
	forged, _ := build(Header{Nonce: 99}, record{"evil", 1, 0})
	inner := string(forged[DataStart:])
	file, ends := build(testHeader, record{inner, 1, 1000}, record{inner + inner, 1, 1001})
	file[ends[0]-1] ^= 1 // the first frame is bad: the scan goes through its payload
	got := read(t, file)
	if len(got.payloads) != 1 || got.payloads[0] != inner+inner {
		t.Errorf("got %q", got.payloads)
	}
}

func TestLastGroupIsWhatMayNotBeSynced(t *testing.T) {
	t.Parallel()
	file, ends := three()
	rec, err := Recover(bytes.NewReader(file), int64(len(file)), testHeader)
	if err != nil || rec.LastGroup != ends[0] || rec.FirstAt != 1 || rec.LastAt != 3 || rec.Frames != 3 {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestSealRoundTripAndEveryBitFlip(t *testing.T) {
	t.Parallel()
	seal := Seal{End: 1006, DataEnd: 1200, Frames: 3, FirstAt: 5, LastAt: 9}
	index := Index{{1024, 1000, 5}, {1100, 1003, 9}}
	body, trailer := seal.Encode(testHeader, index)
	at := seal.TrailerOffset(4096, len(body))
	file := make([]byte, 4096)
	copy(file[1200:], body)
	copy(file[at:], trailer)
	got, err := ReadSeal(bytes.NewReader(file), 4096, testHeader)
	if err != nil {
		t.Fatal(err)
	}
	if got.End != 1006 || got.DataEnd != 1200 || got.Frames != 3 || got.FirstAt != 5 || got.LastAt != 9 {
		t.Errorf("seal %+v", got)
	}
	gotIndex, err := got.ReadIndex(bytes.NewReader(file), testHeader)
	if diff := cmp.Diff(index, gotIndex); diff != "" || err != nil {
		t.Errorf("index, %v (-want +got):\n%s", err, diff)
	}
	for bit := int(at) * 8; bit < 4096*8; bit++ {
		bad := bytes.Clone(file)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := ReadSeal(bytes.NewReader(bad), 4096, testHeader); !errors.Is(err, ErrNoSeal) {
			t.Fatalf("bit %d of the trailer: %v", bit, err)
		}
	}
	for bit := 1200 * 8; bit < (1200+len(body))*8; bit++ {
		bad := bytes.Clone(file)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := got.ReadIndex(bytes.NewReader(bad), testHeader); !errors.Is(err, ErrIndex) {
			t.Fatalf("bit %d of the index: %v", bit, err)
		}
	}
	other := testHeader
	other.Nonce++
	if _, err := ReadSeal(bytes.NewReader(file), 4096, other); !errors.Is(err, ErrNoSeal) {
		t.Errorf("the seal of an earlier life was taken: %v", err)
	}
	if at := seal.TrailerOffset(1210, len(body)); at != 1248 {
		t.Errorf("without room the trailer goes to %d", at)
	}
}

func TestIndexSearch(t *testing.T) {
	t.Parallel()
	var x Index
	for i := range int64(10) {
		x = x.Add(Place{Offset: i * 20_000, Position: i * 10, Appended: i / 2})
	}
	if diff := cmp.Diff(Index{{0, 0, 0}, {80_000, 40, 2}, {160_000, 80, 4}}, x); diff != "" {
		t.Fatalf("sparse index (-want +got):\n%s", diff)
	}
	for _, tc := range []struct{ position, want int64 }{{0, 0}, {39, 0}, {40, 40}, {1 << 40, 80}} {
		if p, ok := x.AtPosition(tc.position); !ok || p.Position != tc.want {
			t.Errorf("AtPosition(%d) = %+v, %v", tc.position, p, ok)
		}
	}
	if _, ok := x.AtPosition(-1); ok {
		t.Error("AtPosition before the first")
	}
	if p, ok := x.BeforeTime(4); !ok || p.Position != 40 {
		t.Errorf("BeforeTime(4) = %+v, %v", p, ok)
	}
	if _, ok := x.BeforeTime(0); ok {
		t.Error("BeforeTime of the first")
	}
}

// TestRandomCorruption is the property behind the exhaustive tests on larger
// segments: every frame that comes out is one that went in, in order, and what
// is missing in the middle is told.
func TestRandomCorruption(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var records []record
		written, position, durable := map[int64]string{}, testHeader.Base, testHeader.Base
		for range 1 + rng.IntN(30) {
			if rng.IntN(3) == 0 {
				durable = position
			}
			r := record{fmt.Sprint(position, string(make([]byte, rng.IntN(400)))), 1 + rng.IntN(5), durable}
			records = append(records, r)
			written[position] = r.payload
			position += int64(r.events)
		}
		file, _ := build(testHeader, records...)
		file = append(file, make([]byte, rng.IntN(500))...)
		for range 1 + rng.IntN(4) {
			at := DataStart + rng.IntN(len(file)-DataStart)
			switch rng.IntN(3) {
			case 0:
				file[at] ^= 1 << rng.IntN(8)
			case 1:
				clear(file[at:min(len(file), at+rng.IntN(512))])
			default:
				for i := at; i < min(len(file), at+rng.IntN(64)); i++ {
					file[i] = byte(rng.Uint32())
				}
			}
		}
		checkOutcome(t, seed, read(t, file), written)
	}
}

func checkOutcome(t *testing.T, seed uint64, got outcome, written map[int64]string) {
	t.Helper()
	lost := map[int64]bool{}
	for _, d := range got.damage {
		for p := d.First; p < d.Next; p++ {
			lost[p] = true
		}
	}
	seen := map[int64]bool{}
	last := int64(-1)
	for i, first := range got.firsts {
		if written[first] != got.payloads[i] || first <= last {
			t.Fatalf("seed %d: frame %d came out as %q after %d", seed, first, got.payloads[i], last)
		}
		seen[first], last = true, first
	}
	for first := range written {
		if first < got.end && !seen[first] && !lost[first] {
			t.Fatalf("seed %d: frame %d is missing without a word; %+v", seed, first, got)
		}
	}
}

func FuzzRecover(f *testing.F) {
	file, ends := three()
	f.Add(file)
	f.Add(file[:ends[1]+7])
	f.Add(append(bytes.Clone(file), make([]byte, 200)...))
	holed := bytes.Clone(file)
	clear(holed[ends[0]:ends[1]])
	f.Add(holed)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := ReadHeader(r)
		if err != nil {
			h = testHeader // the body is what this is about
		}
		rec, err := Recover(r, int64(len(data)), h)
		if err != nil {
			t.Fatalf("recovering in memory: %v", err)
		}
		if rec.DataEnd < DataStart || len(data) >= DataStart && rec.DataEnd > int64(len(data)) || rec.End < h.Base || rec.LastGroup > rec.DataEnd {
			t.Fatalf("impossible: %+v of %d bytes", rec, len(data))
		}
		position := h.Base
		s := NewScanner(r, h, h.Start(), rec.DataEnd, rec.End)
		for range len(data) + 1 {
			fr, err := s.Next()
			var d *Damage
			switch {
			case errors.Is(err, io.EOF):
				if position != rec.End {
					t.Fatalf("read up to %d, recovered up to %d", position, rec.End)
				}
				return
			case errors.As(err, &d):
				if d.First != position || d.Next < d.First || d.To < d.From {
					t.Fatalf("impossible damage %+v at %d", d, position)
				}
				position = d.Next
			case err != nil:
				t.Fatal(err)
			default:
				if fr.First != position {
					t.Fatalf("position %d after %d", fr.First, position)
				}
				position = fr.End()
			}
		}
		t.Fatal("the scanner does not end")
	})
}

func FuzzReadSeal(f *testing.F) {
	seal := Seal{End: 1006, DataEnd: 1100, Frames: 3, FirstAt: 5, LastAt: 9}
	body, trailer := seal.Encode(testHeader, Index{{1024, 1000, 5}})
	file := append(append(make([]byte, 1100), body...), trailer...)
	f.Add(file)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadSeal(bytes.NewReader(data), int64(len(data)), testHeader)
		if err != nil {
			return
		}
		if s.DataEnd > int64(len(data)) {
			t.Fatalf("the frames end at %d of %d", s.DataEnd, len(data))
		}
		_, _ = s.ReadIndex(bytes.NewReader(data), testHeader) // must not panic
	})
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

func TestReadErrorsAreNotTakenForDamage(t *testing.T) {
	t.Parallel()
	broken := errors.New("EIO")
	if _, err := Recover(failingReader{broken}, 1<<20, testHeader); !errors.Is(err, broken) {
		t.Errorf("Recover: %v", err)
	}
	if _, err := ReadHeader(failingReader{broken}); !errors.Is(err, broken) {
		t.Errorf("ReadHeader: %v", err)
	}
	if _, err := ReadSeal(failingReader{broken}, 1<<20, testHeader); !errors.Is(err, broken) {
		t.Errorf("ReadSeal: %v", err)
	}
}
