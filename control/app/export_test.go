package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/loader"
)

// Exec writes to the warehouse behind the hub's back.
func (h *Hub) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	return h.warehouse.Exec(ctx, sql, args...)
}

// OpenNamed opens a warehouse of p as a command without a hub does.
func OpenNamed(ctx context.Context, p *project.Project, data, name string) (loader.Warehouse, error) {
	return openNamed(ctx, fileSecrets(data, time.Now), p, data, name, slog.New(slog.DiscardHandler), time.Now)
}

// LookAtAlerts makes the alerts look at what stands now, not within seconds.
func (h *Hub) LookAtAlerts() { h.alerts.Look() }

// Waiting is how many events wait to be loaded, as far as the loader has seen.
func (h *Hub) Waiting() int64 {
	if l := h.loader.Stats(); l.LagAge > 0 {
		return l.LagEvents
	}
	return 0
}
