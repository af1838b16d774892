package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
	"github.com/tidegate/tidegate/internal/config"
)

// warehouses are the project's further warehouses. Each is opened when it is first
// needed, because a hub must start and take events while one of them is away, and
// stays open until the hub ends.
type warehouses struct {
	mu   sync.Mutex
	open map[string]furtherWarehouse
}

type furtherWarehouse struct {
	definition tidegate.Connection
	loader.Warehouse
}

// warehouseOf returns the warehouse called name of an activated project; empty: the
// one that events go to. It blocks while the warehouse is opened.
func (h *Hub) warehouseOf(ctx context.Context, a *active, name string) (loader.Warehouse, error) {
	if name == "" || name == project.KindWarehouse {
		return h.warehouse, nil
	}
	def, ok := namedWarehouse(a.project, name)
	if !ok {
		return nil, noWarehouse(a.project, name)
	}
	h.further.mu.Lock()
	defer h.further.mu.Unlock()
	if have, ok := h.further.open[name]; ok {
		return have.Warehouse, nil
	}
	wh, err := openFurther(ctx, h.secrets, h.o.Data, def, h.o.Log, h.o.Now)
	if err != nil {
		return nil, err
	}
	if h.further.open == nil {
		h.further.open = map[string]furtherWarehouse{}
	}
	h.further.open[name] = furtherWarehouse{def, wh}
	return wh, nil
}

// modelWarehouse is the warehouse that a model of an activated project reads.
func (h *Hub) modelWarehouse(ctx context.Context, a *active, model string) (loader.Warehouse, error) {
	return h.warehouseOf(ctx, a, a.models[model].Warehouse)
}

func namedWarehouse(p *project.Project, name string) (tidegate.Connection, bool) {
	i := slices.IndexFunc(p.Warehouses, func(w tidegate.Connection) bool { return w.Name == name })
	if i < 0 {
		return tidegate.Connection{}, false
	}
	return p.Warehouses[i], true
}

func noWarehouse(p *project.Project, name string) error {
	known := []string{project.KindWarehouse}
	for _, w := range p.Warehouses {
		known = append(known, w.Name)
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.not_found", Subject: "warehouse " + name,
		Message: fmt.Sprintf("there is no warehouse %q", name), Hint: config.DidYouMean(name, known),
	}
}

// openFurther opens a further warehouse. What an embedded one keeps lies in a folder
// of its own, so that it cannot meet the file of the one that events go to.
func openFurther(ctx context.Context, known secrets, data string, def tidegate.Connection, log *slog.Logger, now func() time.Time) (loader.Warehouse, error) {
	wh, err := openWarehouse(ctx, known, filepath.Join(data, "warehouses", def.Name), project.Warehouse{Kind: def.Kind, Config: def.Config}, log, now)
	if err != nil {
		return nil, fmt.Errorf("warehouse %s: %w", def.Name, err)
	}
	return wh, nil
}

// openNamed opens any warehouse of a project by its name, for a process without a hub.
func openNamed(ctx context.Context, known secrets, p *project.Project, data, name string, log *slog.Logger, now func() time.Time) (loader.Warehouse, error) {
	if name == "" || name == project.KindWarehouse {
		return openWarehouse(ctx, known, data, p.Warehouse, log, now)
	}
	def, ok := namedWarehouse(p, name)
	if !ok {
		return nil, noWarehouse(p, name)
	}
	return openFurther(ctx, known, data, def, log, now)
}

// replaceable refuses a project that says something else of a warehouse that is open.
func (w *warehouses) replaceable(p *project.Project) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.open)) {
		def, ok := namedWarehouse(p, name)
		if ok && !reflect.DeepEqual(plain(def), plain(w.open[name].definition)) {
			return &tidegate.Fault{
				Action: tidegate.Halt, Code: "warehouse.conflict", Subject: "warehouse " + name,
				Message: "a warehouse that is in use cannot be replaced", Hint: "stop tidegate, then start it with the new project; or give the new warehouse another name",
			}
		}
	}
	return nil
}

func (w *warehouses) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(w.open)) {
		if err := w.open[name].Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing warehouse %s: %w", name, err))
		}
	}
	w.open = nil
	return errors.Join(errs...)
}
