package journal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/vfs"
)

// identity tells this journal from every other one.
type identity struct {
	id    string // empty: the disk had no room for it yet
	begin int64  // the first position that was ever given out
}

const (
	identityName    = "identity"
	identityBytes   = 16
	identityFormat  = "tidegate journal 1 id %s begin %d"
	maxIdentityFile = 256
)

func (i identity) encode() []byte {
	text := fmt.Sprintf(identityFormat, i.id, i.begin)
	return fmt.Appendf(nil, "%s crc %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func decodeIdentity(b []byte) (i identity, err error) {
	if _, err := fmt.Sscanf(string(b), identityFormat, &i.id, &i.begin); err != nil {
		return identity{}, fmt.Errorf("reading %q: %w", b, err)
	}
	if raw, err := hex.DecodeString(i.id); err != nil || len(raw) != identityBytes || i.begin < 0 || string(i.encode()) != string(b) {
		return identity{}, fmt.Errorf("reading %q: the checksum does not fit", b)
	}
	return i, nil
}

// identify reads the journal's identity, and makes one where there is none: before its
// first frame, because Open calls it before it begins to append. fresh says that
// nothing was ever here.
//
// One that is missing or damaged is made anew. Whoever has a place in the journal then
// finds another name than he knows and asks what to do, which loses nothing; to keep
// events out until a file of no content is mended would.
func (j *Journal) identify(ctx context.Context, fresh bool) error {
	path := j.path(identityName)
	b, err := vfs.ReadFile(j.fs, path, maxIdentityFile)
	if err == nil {
		if j.identity, err = decodeIdentity(b); err == nil {
			return nil
		}
		j.o.Log.Error("the journal's identity is damaged: it gets a new one, and the loader will ask for `tidegate warehouse rejoin`", "path", path, "error", err)
	} else if !errors.Is(err, fs.ErrNotExist) && !vfs.IsFull(err) { // IsFull: it is too long for one
		return fmt.Errorf("reading the journal's identity: %w", err)
	}
	raw := make([]byte, identityBytes)
	if _, err := io.ReadFull(j.o.Random, raw); err != nil {
		return fmt.Errorf("making the journal's identity: %w", err)
	}
	made := identity{id: hex.EncodeToString(raw)}
	if fresh && j.o.Begin != nil {
		if made.begin, err = j.o.Begin(ctx); err == nil && made.begin < 0 {
			err = fmt.Errorf("%d is no position", made.begin)
		}
		if err != nil {
			return fmt.Errorf("choosing where the journal begins: %w", err)
		}
	}
	err = vfs.Replace(j.fs, path, made.encode(), nil)
	if vfs.IsFull(err) { // what is here must be drained all the same; the next Open makes one
		j.o.Log.Warn("the disk has no room for the journal's identity", "path", path, "error", err)
		made.id, err = "", nil
	}
	if err != nil {
		return fmt.Errorf("saving the journal's identity: %w", err)
	}
	j.identity = made
	return nil
}

// Begin returns the first position that this journal ever gave out.
func (j *Journal) Begin() tidegate.Offset { return tidegate.Offset{Position: j.identity.begin} }

// Mark says of the place next whose place it is, for those who keep it elsewhere: in
// this journal, and after an event of that segment. It is empty where that is not
// known.
func (j *Journal) Mark(next tidegate.Offset) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.identity.id == "" {
		return ""
	}
	var begun int64
	if p := j.holder(next.Position - 1); p != nil {
		begun = p.header.Created.UnixNano()
	}
	return fmt.Sprintf("%s/%d/%d", j.identity.id, next.Position, begun)
}

// holder returns the segment that holds a position; nil: none that is kept. It is called
// with mu held.
func (j *Journal) holder(position int64) *piece {
	i, found := slices.BinarySearchFunc(j.segments, position, func(p *piece, at int64) int {
		switch {
		case p.base() > at:
			return 1
		case p.seal.End <= at:
			return -1
		}
		return 0
	})
	if !found {
		return nil
	}
	return j.segments[i]
}

// Fits returns an error that wraps ErrReplaced when mark is not of this journal as it is:
// of another one, or of this one before it was put back from a backup and written on. The
// positions are the same then and the events are not. An empty mark says nothing and fits,
// and so does one of which this journal cannot tell.
func (j *Journal) Fits(mark string) error {
	if mark == "" {
		return nil
	}
	id, position, begun, err := parseMark(mark)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if position == 0 { // nothing was passed that could have been something else
		return nil
	}
	if j.identity.id != "" && id != j.identity.id {
		return faultReplaced(position, "is of the journal "+id+", and this is the journal "+j.identity.id)
	}
	p := j.holder(position - 1)
	if p == nil || begun == 0 || p.header.Created.UnixNano() == begun {
		return nil
	}
	return faultReplaced(position, fmt.Sprintf("follows an event of a file begun at %s, and here that file was begun at %s: this journal was put back as it was earlier and written on",
		time.Unix(0, begun).UTC().Format(time.RFC3339Nano), p.header.Created.UTC().Format(time.RFC3339Nano)))
}

func parseMark(mark string) (id string, position, begun int64, err error) {
	id, rest, _ := strings.Cut(mark, "/")
	if n, err := fmt.Sscanf(rest, "%d/%d", &position, &begun); n != 2 || err != nil || len(id) != 2*identityBytes {
		return "", 0, 0, fmt.Errorf("reading where a place in the journal belongs: %q is not what Mark makes", mark)
	}
	return id, position, begun, nil
}
