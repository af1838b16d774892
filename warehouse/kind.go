package warehouse

import (
	"context"
	"log/slog"
	"os/exec"
	"time"
)

// Env is what an adapter is lent. It uses nothing else of the outside world
// but its engine.
type Env struct {
	// Dir is the data folder: where an embedded warehouse keeps its file unless
	// its configuration says otherwise.
	Dir string
	Log *slog.Logger
	Now func() time.Time
	// Probe returns a command that tries an embedded warehouse's file in a process of
	// its own, because an engine may abort over a file that it cannot read. It
	// may be nil, and may return nil: then the file is opened directly.
	Probe func(ctx context.Context, path string) *exec.Cmd
}

// Kind is a registered adapter. Make one with Define.
type Kind struct {
	Name  string // "duckdb"
	Title string // "DuckDB"
	// NewConfig returns a pointer to a zero config struct.
	NewConfig func() any
	// Open takes what NewConfig returned, filled.
	Open func(ctx context.Context, cfg any, env Env) (Warehouse, error)
}

// Define makes a Kind whose config is the struct C.
func Define[C any](name, title string, open func(ctx context.Context, cfg C, env Env) (Warehouse, error)) Kind {
	return Kind{
		Name:      name,
		Title:     title,
		NewConfig: func() any { return new(C) },
		Open: func(ctx context.Context, cfg any, env Env) (Warehouse, error) {
			return open(ctx, *cfg.(*C), env)
		},
	}
}
