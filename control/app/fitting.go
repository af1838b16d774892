package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/mapping"
	"github.com/tidegate/tidegate/sync/model"
)

// fittedSync is a sync whose model, mapping and destination fit. Its user calls release once.
type fittedSync struct {
	fitted
	model   *model.Model
	open    *connection
	release func() error
}

// fitting remembers what models and destinations answered, so that each is asked once
// for all the syncs that are looked at together. The zero value has asked nothing.
type fitting struct {
	models  map[string]func() (*model.Model, error)
	objects map[string]func() ([]destinations.Object, error)
}

// ask returns what was answered for key, or what get answers now.
func ask[T any](answers *map[string]func() (T, error), key string, get func() (T, error)) (T, error) {
	if *answers == nil {
		*answers = map[string]func() (T, error){}
	}
	if (*answers)[key] == nil {
		(*answers)[key] = sync.OnceValues(get)
	}
	return (*answers)[key]()
}

// fitSync holds a sync's model, mapping and destination against each other.
func (h *Hub) fitSync(ctx context.Context, a *active, def tidegate.Sync, f *fitting) (_ fittedSync, err error) {
	if err := a.gate(def.Name); err != nil {
		return fittedSync{}, err
	}
	joins := mapping.Joins(def.Mapping)
	m, err := ask(&f.models, fmt.Sprintf("%s %+v", def.Model, joins), func() (*model.Model, error) { return h.compileModel(ctx, a, def.Model, joins) })
	if err != nil {
		return fittedSync{}, err
	}
	open, release, err := h.connections.hold(ctx, a.destinations[def.Destination], prefixes(a.project.Settings.AllowPrivate))
	if err != nil {
		return fittedSync{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	objects, err := ask(&f.objects, def.Destination, func() ([]destinations.Object, error) { return objectsOf(ctx, open.dest, def.Destination) })
	if err != nil {
		return fittedSync{}, err
	}
	object, err := objectAmong(objects, "sync", def.Name, def.Destination, def.Object, def.Mode)
	if err != nil {
		return fittedSync{}, err
	}
	fit, err := fitMapping(def, m, open.dest, object)
	if err != nil {
		return fittedSync{}, err
	}
	if _, err := open.identify(ctx); err != nil { // the ledger asks whose confirmations it holds
		return fittedSync{}, err
	}
	return fittedSync{fitted: fit, model: m, open: open, release: release}, nil
}

// objectOf finds what a definition, a sync or a forward, writes to, and asks the destination because its fields are live.
func objectOf(ctx context.Context, dest destinations.Destination, kind, name, destination, object string, mode tidegate.Mode) (destinations.Object, error) {
	objects, err := objectsOf(ctx, dest, destination)
	if err != nil {
		return destinations.Object{}, err
	}
	return objectAmong(objects, kind, name, destination, object, mode)
}

func objectsOf(ctx context.Context, dest destinations.Destination, destination string) ([]destinations.Object, error) {
	objects, err := dest.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the objects of destination %s: %w", destination, err)
	}
	return objects, nil
}

func objectAmong(objects []destinations.Object, kind, name, destination, object string, mode tidegate.Mode) (destinations.Object, error) {
	var names []string
	for _, o := range objects {
		names = append(names, o.Name)
		if o.Name != object {
			continue
		}
		if !slices.Contains(o.Modes, mode) {
			return o, &tidegate.Fault{
				Action: tidegate.Halt, Code: kind + ".mode", Subject: kind + " " + name + ": mode",
				Message: fmt.Sprintf("%s of %s cannot be written in mode %s", o.Name, destination, mode), Hint: "use one of " + listed(o.Modes),
			}
		}
		return o, nil
	}
	return destinations.Object{}, &tidegate.Fault{
		Action: tidegate.Halt, Code: kind + ".object", Subject: kind + " " + name + ": object",
		Message: fmt.Sprintf("destination %s has no object %q", destination, object), Hint: "use one of " + strings.Join(names, ", "),
	}
}

// listed is what may be chosen from.
func listed[T ~string](choices []T) string {
	texts := make([]string, len(choices))
	for i, c := range choices {
		texts[i] = string(c)
	}
	return strings.Join(texts, ", ")
}
