package duckdb

import (
	"context"
	"path/filepath"

	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind duckdb.
type Config struct {
	Path        string `json:"path,omitempty" doc:"The database file. Relative paths lie in the data folder."`
	MemoryLimit string `json:"memory_limit,omitempty" pattern:"^[0-9]+(\\.[0-9]+)?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$" doc:"The most memory that the engine takes, as 2GB; a quarter of the machine's, at most 4GB, when empty. Larger operations spill to disk."`
	Threads     int    `json:"threads,omitempty" doc:"The most threads that the engine takes; the number of processors when 0."`
}

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("duckdb", "DuckDB", func(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
		path := cfg.Path
		if path == "" {
			path = "warehouse.duckdb"
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(env.Dir, path)
		}
		return Open(ctx, Options{Path: path, MemoryLimit: cfg.MemoryLimit, Threads: cfg.Threads, Log: env.Log, Now: env.Now, ProbeCommand: env.Probe})
	})
}
