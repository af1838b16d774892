package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/forward"
	"github.com/tidegate/tidegate/ingest/privacy"
)

// quietAfter bounds the wait for the calls of a forward that is ended for a deletion;
// it is longer than a call may take.
const quietAfter = time.Minute

// eraseForwards erases what forwards keep of the people beside the journal: events that
// wait for another try, and dead ones.
//
// The forwards are ended for that time and read again from their cursors: what they had
// at hand was judged before the people were hidden, and a call that fails meanwhile
// would write a letter anew.
func (h *Hub) eraseForwards(ctx context.Context, doc *deletionJob) error {
	defs := h.active.Load().project.Forwards
	for _, def := range defs {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{
			Place: fmt.Sprintf("%s: %s (forward %s)", def.Destination, def.Object, def.Name),
			What:  "forwards keep no ledger: nobody knows whether it was sent events of the people before; delete there",
		})
	}
	people, ids, err := h.erased(ctx, doc.Below)
	if err != nil || doc.Letters == ids {
		return err
	}
	h.forwards.starting.Lock()
	defer h.forwards.starting.Unlock()
	defer h.forwards.wake()
	if err := h.forwards.endQuietly(ctx); err != nil {
		return err
	}
	out := func(l *forward.Letter) bool {
		ev, err := l.Decode()
		return err == nil && people.Out(ev)
	}
	w := h.runs.In(tidegate.DefaultWorkspace)
	found, err := w.EraseLetters(ctx, out)
	if err != nil {
		return fmt.Errorf("erasing the letters of forwards: %w", err)
	}
	left, err := w.CountLetters(ctx, out)
	if err != nil {
		return fmt.Errorf("looking again for letters of forwards: %w", err)
	}
	for _, def := range defs { // also those in which nothing was found
		found[def.Name] += 0
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		place := doc.Receipt.At("forward", name)
		place.Found, place.Deleted, place.Left = place.Found+found[name], place.Deleted+found[name], left[name]
		place.VerifiedAt = h.o.Now().UTC()
		place.Note = "events that waited for another try, and dead ones"
	}
	doc.Letters = ids
	return nil
}

// erased returns the people, with the anonymous ids that belong to them, whose events
// below a position are erased, and how many ids that are.
func (h *Hub) erased(ctx context.Context, below int64) (*privacy.Set, int, error) {
	list, err := h.control().Suppressions(ctx)
	if err != nil {
		return nil, 0, err
	}
	list = slices.DeleteFunc(list, func(e privacy.Entry) bool { return e.Below != below })
	people := &privacy.Set{}
	people.Replace(list)
	return people, len(list), nil
}

// endQuietly ends every forward once no call is under way, so that none has to be
// repeated. It is called with starting held; a wake starts them again.
func (f *forwards) endQuietly(ctx context.Context) error {
	f.mu.Lock()
	ended := slices.Collect(maps.Values(f.running))
	f.mu.Unlock()
	quiet, cancel := context.WithTimeout(ctx, quietAfter)
	defer cancel()
	for _, r := range ended {
		r.forward.Quiet(quiet)
	}
	f.mu.Lock()
	clear(f.running)
	f.mu.Unlock()
	for _, r := range ended {
		r.stop()
	}
	for _, r := range ended {
		<-r.done
	}
	return ctx.Err()
}
