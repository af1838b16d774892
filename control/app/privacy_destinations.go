package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/sync/ledger"
)

// eraseDestinations deletes the records that the ledgers say the destinations have of
// the people. A destination that cannot delete is named in the receipt.
func (h *Hub) eraseDestinations(ctx context.Context, doc *deletionJob) error {
	a := h.active.Load()
	values := map[string]bool{}
	for _, v := range doc.Values {
		values[v] = true
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(a.syncs)) {
		if err := h.eraseSync(ctx, a, a.syncs[name], values, doc); err != nil {
			errs = append(errs, fmt.Errorf("deleting what sync %s delivered: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (h *Hub) eraseSync(ctx context.Context, a *active, def tidegate.Sync, values map[string]bool, doc *deletionJob) (err error) {
	led, err := h.ledger(ctx, def.Name)
	if err != nil {
		return err
	}
	found, err := confirmedOf(ctx, led, values)
	if err != nil || len(found) == 0 {
		return err
	}
	title := fmt.Sprintf("%s: %s (sync %s)", def.Destination, def.Object, def.Name)
	place := doc.Receipt.At("destination", title)
	remains := func(what string) {
		doc.Receipt.Remains = append(doc.Receipt.Remains, privacy.Remains{Place: title, What: what})
	}
	place.Found = max(place.Found, int64(len(found)))
	remains("the ledger of sync " + def.Name + " keeps what was confirmed of these records until the sync's next run finds that its model has them no longer, or until `tidegate sync resync " + def.Name + "`")
	if doc.Request.KeepDestinations {
		place.Note = "left as they are, as was asked for"
		remains(fmt.Sprintf("%d records", len(found)))
		return nil
	}
	dest, release, err := h.connections.use(ctx, a.destinations[def.Destination], prefixes(a.project.Settings.AllowPrivate))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	objects, err := dest.Objects(ctx)
	if err != nil {
		return fmt.Errorf("reading the objects of destination %s: %w", def.Destination, err)
	}
	at := slices.IndexFunc(objects, func(o destinations.Object) bool { return o.Name == def.Object })
	if at < 0 {
		return noObject(def.Destination, def.Object, objects)
	}
	removal, can := removalOf(objects[at])
	if !can {
		place.Note = "this destination cannot delete such records"
		remains(fmt.Sprintf("%d records, which have to be deleted there", len(found)))
		return nil
	}
	deleted, refused, err := h.removeRecords(ctx, dest, objects[at], def, removal, found)
	place.Deleted = max(place.Deleted, deleted)
	if err != nil {
		return err
	}
	if refused > 0 {
		remains(fmt.Sprintf("%d records that the destination refused to delete", refused))
	}
	if removal != tidegate.Delete {
		remains(fmt.Sprintf("the records are kept there in the way that %q says", removal))
	}
	return h.verifyGone(ctx, dest, def, found, place)
}

// removalOf is the most thorough removal that an object has.
func removalOf(o destinations.Object) (tidegate.Removal, bool) {
	if !slices.Contains(o.Modes, tidegate.Mirror) {
		return "", false
	}
	if len(o.Removals) == 0 {
		return tidegate.Delete, true
	}
	for _, r := range []tidegate.Removal{tidegate.Delete, tidegate.Archive, tidegate.Clear} {
		if slices.Contains(o.Removals, r) {
			return r, true
		}
	}
	return "", false
}

// confirmedOf reads the whole ledger and returns the records of which the key, the
// identifier or a field is one of values.
func confirmedOf(ctx context.Context, led *ledger.Ledger, values map[string]bool) (found []ledger.Confirmed, err error) {
	reader, err := led.Confirmed(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		if speaksOf(c, values) {
			found = append(found, c)
		}
	}
}

func speaksOf(c ledger.Confirmed, values map[string]bool) bool {
	var key []any
	if json.Unmarshal([]byte(c.Key), &key) == nil && slices.ContainsFunc(key, func(v any) bool { return values[plainText(v)] }) {
		return true
	}
	if values[plainText(c.Identifier)] {
		return true
	}
	for _, v := range c.Payload {
		if values[plainText(v)] {
			return true
		}
	}
	return false
}

func plainText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// removeRecords sends removals, in calls that the object's limits allow.
func (h *Hub) removeRecords(ctx context.Context, dest destinations.Destination, o destinations.Object, def tidegate.Sync, removal tidegate.Removal, found []ledger.Confirmed) (deleted int64, refused int, err error) {
	for part := range slices.Chunk(found, max(1, o.Limit.Records)) {
		b := destinations.Batch{Object: def.Object, Mode: tidegate.Mirror, IdentifierField: def.Mapping.Identifier, Removal: removal}
		for _, c := range part {
			b.Items = append(b.Items, destinations.Item{
				Op: tidegate.Removed, Key: c.Key, Identifier: c.Identifier, DestinationID: c.DestinationID, Record: c.Payload, IdempotencyKey: "privacy-" + string(c.Key),
			})
		}
		outcomes, err := dest.Write(ctx, b)
		if err != nil {
			return deleted, refused, err
		}
		for _, out := range outcomes {
			switch out.Disposition {
			case destinations.Delivered:
				deleted++
			case destinations.Rejected:
				if out.Fault != nil && strings.HasSuffix(out.Fault.Code, "not_found") {
					deleted++ // gone already
					continue
				}
				refused++
			case destinations.InDoubt, destinations.Deferred, destinations.Pending:
				err = errors.Join(err, &tidegate.Fault{Action: tidegate.Retry, Code: "privacy.in_doubt", Subject: "destination " + def.Destination, Message: "the destination has not confirmed a deletion"})
			}
		}
		if err != nil {
			return deleted, refused, err
		}
	}
	return deleted, refused, nil
}

// verifyGone reads the records back where the destination lets us.
func (h *Hub) verifyGone(ctx context.Context, dest destinations.Destination, def tidegate.Sync, found []ledger.Confirmed, place *privacy.Place) error {
	reader, ok := dest.(destinations.Reader)
	field := def.Mapping.Identifier
	if !ok || field == "" {
		place.Note = "the destination confirmed each deletion; it cannot be read back"
		return nil
	}
	place.Left = 0
	for part := range slices.Chunk(found, 100) {
		ids := make([]any, len(part))
		for i, c := range part {
			ids[i] = c.Identifier
		}
		records, err := reader.Read(ctx, def.Object, field, ids, []string{field})
		if err != nil {
			return fmt.Errorf("reading back what was deleted: %w", err)
		}
		for _, r := range records {
			if r != nil {
				place.Left++
			}
		}
	}
	place.VerifiedAt = h.o.Now().UTC()
	return nil
}
