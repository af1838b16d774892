package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// maxIdle is how many unused connections are kept; a connection costs little to make.
const maxIdle = 8

// maxDefaultMemory bounds the memory limit that is chosen when none is given.
const maxDefaultMemory = 4 << 30

// instance is one opening of the database file.
type instance struct {
	raw        bindings.Database
	predicates *predicates
	handovers  *handovers

	mu   sync.Mutex
	idle []*conn
}

// catalog is what the file is called inside the engine. By itself the engine would
// take the file's name, and the schema "warehouse" in the file warehouse.duckdb
// would then be ambiguous in every statement: a source of that name could not be loaded.
const catalog = sqltext.Text(`"_tidegate_file"`)

// openInstance opens the file. What it returns as an error is the engine's word; it moves nothing.
func openInstance(ctx context.Context, o Options, readOnly bool) (*instance, error) {
	var config bindings.Config
	if bindings.CreateConfig(&config) == bindings.StateError {
		return nil, errors.New("opening duckdb: the engine makes no configuration")
	}
	defer bindings.DestroyConfig(&config)
	settings := map[string]string{
		"threads":                      strconv.Itoa(o.Threads),
		"memory_limit":                 o.MemoryLimit,
		"temp_directory":               o.TempDir,
		"autoinstall_known_extensions": "false",
		"autoload_known_extensions":    "false",
		"allow_community_extensions":   "false",
		"preserve_insertion_order":     "false", // large loads and results need far less memory
		// Five would wait in memory for the end of the statement, where one thread at a time compresses them.
		"write_buffer_row_group_count": "1",
		"duckdb_api":                   "tidegate",
	}
	for k, v := range settings {
		if bindings.SetConfig(config, k, v) == bindings.StateError {
			return nil, &tidegate.Fault{
				Action:  tidegate.Halt,
				Code:    "warehouse.config",
				Subject: "setting " + k,
				Message: fmt.Sprintf("DuckDB does not accept %q", v),
				Hint:    "correct the warehouse's configuration, for example memory_limit: 2GB",
			}
		}
	}
	db := &instance{}
	var msg string
	var state bindings.State
	politely(func() { state = bindings.OpenExt(":memory:", &db.raw, config, &msg) })
	if state == bindings.StateError {
		bindings.Close(&db.raw)
		return nil, openFault(o.Path, msg)
	}
	if err := db.prepare(ctx, o, readOnly); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// prepare attaches the file, sets what must be set while open, makes the
// bookkeeping tables, and then locks the doors: no file, database or setting but
// those that the configuration names.
func (db *instance) prepare(ctx context.Context, o Options, readOnly bool) error {
	c, err := db.connect()
	if err != nil {
		return err
	}
	defer c.close()
	if db.predicates, err = c.lendPredicates(); err != nil {
		return err
	}
	if db.handovers, err = c.handOver(); err != nil {
		return err
	}
	if err := c.attach(ctx, o.Path, readOnly); err != nil {
		return err
	}
	if err := c.attachAll(ctx, o); err != nil {
		return err
	}
	statements := []string{
		string(useFile),
		"DETACH memory",
		"SET GLOBAL TimeZone = 'UTC'",
		"SET GLOBAL immediate_transaction_mode = true", // or the snapshot would begin with the first read
		// The engine's own threshold of 16 MiB would rewrite parts of the file all
		// through a large load. The loader checkpoints by itself (Recoverer); this
		// one only bounds the log of whoever else writes.
		"SET GLOBAL checkpoint_threshold = '1GB'",
	}
	if !readOnly {
		statements = append(statements, "CREATE SCHEMA IF NOT EXISTS _tidegate", string(createLoads))
	}
	// The order of rows is a setting of the session (see ordered).
	statements = append(statements, "SET GLOBAL allowed_configs = ['preserve_insertion_order']")
	statements = append(statements, "SET GLOBAL enable_external_access = false", "SET GLOBAL lock_configuration = true")
	for _, sql := range statements {
		if err := c.control(ctx, sql); err != nil {
			return fmt.Errorf("preparing the database: %w", err)
		}
	}
	return nil
}

const useFile = "USE " + catalog

// attach opens the file. ATTACH takes no parameters, so the path is a literal.
func (c *conn) attach(ctx context.Context, path string, readOnly bool) error {
	file, err := literal(path)
	if err != nil {
		return err
	}
	sql := "ATTACH " + file + " AS " + string(catalog) + " (TYPE duckdb"
	if readOnly {
		sql += ", READ_ONLY"
	}
	err = c.control(ctx, sql+")")
	var f *tidegate.Fault
	if errors.As(err, &f) {
		return openFault(path, f.Message)
	}
	return err
}

// createLoads is the table that remembers every load (Invariant 3).
const createLoads = sqltext.Text(`CREATE TABLE IF NOT EXISTS _tidegate.loads (
	load_id VARCHAR NOT NULL, table_schema VARCHAR NOT NULL, table_name VARCHAR NOT NULL,
	"rows" BIGINT NOT NULL, loaded_at TIMESTAMPTZ NOT NULL)`)

// take returns a connection that nobody else uses.
func (db *instance) take() (*conn, error) {
	db.mu.Lock()
	if n := len(db.idle); n > 0 {
		c := db.idle[n-1]
		db.idle = db.idle[:n-1]
		db.mu.Unlock()
		return c, nil
	}
	db.mu.Unlock()
	c, err := db.connect()
	if err != nil {
		return nil, err
	}
	if err := c.control(context.Background(), string(useFile)); err != nil {
		c.close()
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return c, nil
}

// connect makes a connection that does not use the file yet.
func (db *instance) connect() (*conn, error) {
	c := &conn{}
	if bindings.Connect(db.raw, &c.raw) == bindings.StateError {
		return nil, fault("IO Error: the engine opens no further connection")
	}
	return c, nil
}

// put gives a connection back; drop closes it.
func (db *instance) put(c *conn, drop bool) {
	db.mu.Lock()
	if !drop && len(db.idle) < maxIdle {
		db.idle = append(db.idle, c)
		db.mu.Unlock()
		return
	}
	db.mu.Unlock()
	c.close()
}

func (db *instance) close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, c := range db.idle {
		c.close()
	}
	db.idle = nil
	if db.raw.Ptr != nil {
		bindings.Close(&db.raw)
	}
	if db.predicates != nil {
		db.predicates.close()
		db.predicates = nil
	}
	if db.handovers != nil {
		db.handovers.close()
		db.handovers = nil
	}
	return nil
}

// defaultMemory is a quarter of the machine's memory, at most 4 GiB, at least
// 512 MiB where the machine does not tell.
func defaultMemory() string {
	limit := int64(512 << 20)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		if rest, ok := strings.CutPrefix(string(data), "MemTotal:"); ok {
			if kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64); err == nil {
				limit = min(max(kb<<10/4, limit), maxDefaultMemory)
			}
		}
	}
	return strconv.FormatInt(limit>>20, 10) + "MiB"
}
