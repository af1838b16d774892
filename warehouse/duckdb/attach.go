package duckdb

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// Attached is a database file beside the warehouse's own. Its tables are read as
// name.schema.table and never written.
type Attached struct {
	Name string `json:"name" pattern:"^[a-z][a-z0-9_]{0,62}$" doc:"How queries call it: SELECT * FROM name.main.customers."`
	Path string `json:"path" doc:"The DuckDB file. It is opened read-only. Relative paths lie in the data folder."`
}

// attachAll attaches the further files and opens the folders. It comes before the
// doors are locked.
func (c *conn) attachAll(ctx context.Context, o Options) error {
	for _, a := range o.Attach {
		if err := c.attachFurther(ctx, a); err != nil {
			return err
		}
	}
	if len(o.ReadDirs) == 0 {
		return nil
	}
	list := make([]string, len(o.ReadDirs))
	for i, dir := range o.ReadDirs {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is no folder", dir)
		}
		if err != nil {
			return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.config", Subject: fmt.Sprintf("read_dirs[%d]", i), Message: err.Error(), Hint: "name a folder that exists", Err: err}
		}
		if list[i], err = literal(dir); err != nil {
			return err
		}
	}
	if err := c.control(ctx, "SET GLOBAL allowed_directories = ["+strings.Join(list, ", ")+"]"); err != nil {
		return fmt.Errorf("allowing folders: %w", err)
	}
	return nil
}

func (c *conn) attachFurther(ctx context.Context, a Attached) error {
	name, err := sqltext.DuckDB().Ident(a.Name)
	if err != nil {
		return fmt.Errorf("naming the attached file: %w", err)
	}
	path, err := literal(a.Path)
	if err != nil {
		return err
	}
	if err := c.control(ctx, "ATTACH "+path+" AS "+string(name)+" (TYPE duckdb, READ_ONLY)"); err != nil {
		f := *tidegate.FaultOf(err)
		f.Action, f.Code, f.Subject, f.Err = tidegate.Halt, "warehouse.attach", "attached file "+a.Name, err
		f.Hint = "name a DuckDB file that no other program is writing, or take it out of attach"
		return &f
	}
	return nil
}

// literal is text as the engine writes it: ATTACH and SET take no parameters.
func literal(text string) (string, error) {
	if err := sqlcheck.Text(text); err != nil {
		return "", err
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'", nil
}

// below makes a path that is relative one in the folder.
func below(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}
