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
