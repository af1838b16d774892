package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// open opens the sync and refuses what its destination cannot do.
func (r *Runner) open(ctx context.Context, sync string) (*Opened, error) {
	o, err := r.opts.Open(ctx, sync)
	if err != nil {
		return nil, err
	}
	if err := Suits(o); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Suits returns a Halt when the destination cannot do what the sync asks for.
func Suits(o *Opened) error {
	def := o.Sync
	if removal := removalOf(def); def.Mode == tidegate.Mirror && !slices.Contains(removalsOf(o.Object), removal) {
		return unsuited(def, "on_removed", fmt.Sprintf("%s of %s cannot %s records", o.Object.Name, def.Destination, removal),
			fmt.Sprintf("use one of %v, or another mode", removalsOf(o.Object)))
	}
	if def.Mode == tidegate.Audience {
		if _, ok := o.Destination.(destinations.Audiencer); !ok {
			return noAudience(def)
		}
	}
	if len(policiesOf(def.Mapping).read()) > 0 {
		if _, ok := o.Destination.(destinations.Reader); !ok {
			return unreadable(def)
		}
	}
	return nil
}

// removalOf is what a sync does with a record whose row is gone.
func removalOf(def tidegate.Sync) tidegate.Removal {
	if def.OnRemoved == "" {
		return tidegate.Delete
	}
	return def.OnRemoved
}

func removalsOf(o destinations.Object) []tidegate.Removal {
	if len(o.Removals) == 0 {
		return []tidegate.Removal{tidegate.Delete}
	}
	return o.Removals
}

func unsuited(def tidegate.Sync, field, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "sync.unsuited", Subject: "sync " + def.Name + ": " + field, Message: message, Hint: hint}
}

func noAudience(def tidegate.Sync) error {
	return unsuited(def, "mode", def.Destination+" has no audiences", "use another mode")
}

func unreadable(def tidegate.Sync) error {
	return unsuited(def, "mapping", def.Destination+" cannot be read, and the policies if_empty and if_newer compare with what it holds",
		"use the policies always or on_create")
}
