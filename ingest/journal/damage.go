package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/journal/segment"
	"github.com/tidegate/tidegate/internal/vfs"
)

const (
	maxDamage          = 4096      // ranges that are told one by one
	maxQuarantineBytes = 256 << 20 // of damaged bytes that are kept
	damageName         = "%020d-%012d-%012d-%020d-%020d.bad"
)

// damageList is every damage known, also to processes before this one: the
// names in the quarantine folder say all of it but the bytes.
type damageList struct {
	list  []Damage
	bytes int64 // kept
}

// covers says whether it is known that every position in from ≤ p < to is lost.
func (l *damageList) covers(from, to int64) bool {
	for _, d := range l.list { // in order
		if d.First.Position <= from {
			from = max(from, d.Next.Position)
		}
	}
	return from >= to
}

func (d Damage) name() string {
	return fmt.Sprintf(damageName, d.Segment, d.Offset, d.Bytes, d.First.Position, d.Next.Position)
}

// loadDamage reads the quarantine folder.
func (j *Journal) loadDamage() error {
	entries, err := j.fs.ReadDir(j.path(quarantineDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		var d Damage
		if n, _ := fmt.Sscanf(e.Name(), damageName, &d.Segment, &d.Offset, &d.Bytes, &d.First.Position, &d.Next.Position); n != 5 {
			continue // someone else's file
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d.Quarantined = j.path(quarantineDir, e.Name())
		j.damage.list = append(j.damage.list, d)
		j.damage.bytes += info.Size()
	}
	return nil
}

// noteDamage counts and reports a damaged range of p once, and keeps its bytes,
// which it reads from f. It is called by Open, or with disk held.
func (j *Journal) noteDamage(f io.ReaderAt, p *piece, bad segment.Damage) {
	d := Damage{
		Segment: p.base(), Offset: bad.From, Bytes: bad.To - bad.From,
		First: tidegate.Offset{Position: bad.First}, Next: tidegate.Offset{Position: bad.Next},
	}
	j.mu.Lock()
	known := len(j.damage.list) >= maxDamage || slices.ContainsFunc(j.damage.list, func(k Damage) bool {
		return k.Segment == d.Segment && k.Offset == d.Offset ||
			bad.First < bad.Next && k.First.Position <= bad.First && bad.Next <= k.Next.Position
	})
	room := maxQuarantineBytes - j.damage.bytes
	j.mu.Unlock()
	if known {
		return
	}
	d.Quarantined = j.path(quarantineDir, d.name())
	kept, err := j.keep(d, f, min(room, d.Bytes))
	j.mu.Lock()
	j.damage.list = append(j.damage.list, d)
	slices.SortFunc(j.damage.list, func(a, b Damage) int { return cmp.Compare(a.First.Position, b.First.Position) })
	j.damage.bytes += kept
	j.mu.Unlock()
	j.o.Log.Error("the journal is damaged: events are lost", "segment", p.path, "offset", d.Offset, "bytes", d.Bytes,
		"first", d.First.String(), "next", d.Next.String(), "kept_in", d.Quarantined, "keeping_error", err)
}

// keep writes n of the damaged bytes into the quarantine folder. That it fails,
// on a full disk for instance, is told but changes nothing.
func (j *Journal) keep(d Damage, f io.ReaderAt, n int64) (kept int64, err error) {
	out, err := vfs.Create(j.fs, d.Quarantined)
	if err != nil {
		return 0, err
	}
	if f != nil {
		kept, err = io.Copy(out, io.NewSectionReader(f, d.Offset, n))
	}
	err = errors.Join(err, out.Sync(), out.Close())
	return kept, errors.Join(err, j.fs.SyncDir(j.path(quarantineDir)))
}
