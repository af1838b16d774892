package duckdb

import (
	"context"

	"github.com/tidegate/tidegate/warehouse"
)

// Config is the configuration of a warehouse of kind duckdb.
type Config struct {
	Path        string     `json:"path,omitempty" doc:"The database file. Relative paths lie in the data folder."`
	MemoryLimit string     `json:"memory_limit,omitempty" pattern:"^[0-9]+(\\.[0-9]+)?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$" doc:"The most memory that the engine takes, as 2GB; a quarter of the machine's, at most 4GB, when empty. Larger operations spill to disk."`
	Threads     int        `json:"threads,omitempty" doc:"The most threads that the engine takes; the number of processors when 0."`
	Attach      []Attached `json:"attach,omitempty" doc:"Further DuckDB files whose tables models may read."`
	ReadDirs    []string   `json:"read_dirs,omitempty" doc:"Folders whose Parquet, CSV and JSON files models may read: SELECT * FROM read_parquet('/lake/orders/*.parquet'). Relative ones lie in the data folder. Files elsewhere stay out of reach."`
}

// Kind is the registration of this adapter.
func Kind() warehouse.Kind {
	return warehouse.Define("duckdb", "DuckDB", func(ctx context.Context, cfg Config, env warehouse.Env) (warehouse.Warehouse, error) {
		path := cfg.Path
		if path == "" {
			path = "warehouse.duckdb"
		}
		o := Options{Path: below(env.Dir, path)}
		for _, a := range cfg.Attach {
			o.Attach = append(o.Attach, Attached{a.Name, below(env.Dir, a.Path)})
		}
		for _, dir := range cfg.ReadDirs {
			o.ReadDirs = append(o.ReadDirs, below(env.Dir, dir))
		}
		o.MemoryLimit, o.Threads, o.Log, o.Now, o.ProbeCommand = cfg.MemoryLimit, cfg.Threads, env.Log, env.Now, env.Probe
		return Open(ctx, o)
	})
}
