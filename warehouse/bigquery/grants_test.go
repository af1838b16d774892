package bigquery_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// deed is something that needs a permission; it is done once, however often it is tried.
type deed func(t *testing.T, w *bigquery.Warehouse) error

func loads(key ...string) deed {
	return func(t *testing.T, w *bigquery.Warehouse) error {
		t.Helper()
		_, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: events, Key: key}, tidegate.Rows(numbers, tidegate.Row{int64(2), "new"}, tidegate.Row{int64(3), "new"}))
		return err
	}
}

func loadsInTransaction(t *testing.T, w *bigquery.Warehouse) error {
	t.Helper()
	tx, err := w.Begin(t.Context())
	if err != nil {
		return err
	}
	if _, err := tx.Load(t.Context(), warehouse.Load{ID: "x", Table: events, Key: []string{"id"}}, tidegate.Rows(numbers, tidegate.Row{int64(2), "new"}, tidegate.Row{int64(3), "new"})); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func ensures(table warehouse.Table, s tidegate.Schema) deed {
	return func(t *testing.T, w *bigquery.Warehouse) error {
		t.Helper()
		_, err := w.Ensure(t.Context(), table, s)
		return err
	}
}

func queries(t *testing.T, w *bigquery.Warehouse) error {
	t.Helper()
	r, err := w.Query(t.Context(), "SELECT id FROM web.t")
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Next(t.Context())
	return err
}

// TestEveryMissingPermission takes each permission away in turn, in the dataset where it is needed: what needs it ends in a
// Halt that names the role and the dataset, and changes nothing; with the permission the same is done, once.
func TestEveryMissingPermission(t *testing.T) {
	t.Parallel()
	wider := tidegate.Schema{{Name: "id", Type: tidegate.Type{Kind: tidegate.Int}}, {Name: "v", Type: tidegate.Type{Kind: tidegate.String}}, {Name: "w", Type: tidegate.Type{Kind: tidegate.Int}}}
	const editor, viewer = "roles/bigquery.dataEditor on the dataset ", "roles/bigquery.dataViewer on the dataset "
	for _, c := range []struct {
		name, permission, dataset string
		staging                   string
		do                        deed
		hint                      string
		rows                      int64 // of web.t in the end
	}{
		{"jobs, to load", "bigquery.jobs.create", "", "load_jobs", loads(), "roles/bigquery.jobUser on the project", 4},
		{"jobs, to query", "bigquery.jobs.create", "", "", queries, "roles/bigquery.jobUser on the project", 2},
		{"jobs, in a transaction", "bigquery.jobs.create", "", "", loadsInTransaction, "roles/bigquery.jobUser on the project", 3},
		{"datasets", "bigquery.datasets.create", "", "", ensures(warehouse.Table{Schema: "shop", Name: "t"}, numbers), "roles/bigquery.user on the project", 2},
		{"tables", "bigquery.tables.create", "web", "", ensures(warehouse.Table{Schema: "web", Name: "more"}, numbers), editor + "web (bigquery.tables.create is missing)", 2},
		{"tables that change", "bigquery.tables.update", "web", "", ensures(events, wider), editor + "web (bigquery.tables.update is missing)", 2},
		{"tables that are looked at", "bigquery.tables.get", "web", "", loads(), viewer + "web (bigquery.tables.get is missing)", 4},
		{"rows by a load job", "bigquery.tables.updateData", "web", "load_jobs", loads(), editor + "web (bigquery.tables.updateData is missing)", 4},
		{"rows merged behind a load job", "bigquery.tables.updateData", "web", "load_jobs", loads("id"), editor + "web (bigquery.tables.updateData is missing)", 3},
		{"stages of load jobs", "bigquery.tables.create", "_tidegate_staging", "load_jobs", loads("id"), editor + "_tidegate_staging (bigquery.tables.create is missing)", 3},
		{"stages of streams", "bigquery.tables.create", "_tidegate_staging", "storage_write", loads(), editor + "_tidegate_staging (bigquery.tables.create is missing)", 4},
		{"streams", "bigquery.tables.updateData", "_tidegate_staging", "storage_write", loads("id"), editor + "_tidegate_staging (bigquery.tables.updateData is missing)", 3},
		{"streams, when it may choose", "bigquery.tables.updateData", "_tidegate_staging", "auto", loads(), editor + "_tidegate_staging (bigquery.tables.updateData is missing)", 4},
		{"rows behind a stream", "bigquery.tables.updateData", "web", "storage_write", loads(), editor + "web (bigquery.tables.updateData is missing)", 4},
		{"rows merged behind a stream", "bigquery.tables.updateData", "web", "storage_write", loads("id"), editor + "web (bigquery.tables.updateData is missing)", 3},
		{"staged rows", "bigquery.tables.getData", "_tidegate_staging", "storage_write", loads("id"), viewer + "_tidegate_staging (bigquery.tables.getData is missing)", 3},
		{"rows in a transaction", "bigquery.tables.updateData", "web", "", loadsInTransaction, editor + "web (bigquery.tables.updateData is missing)", 3},
		{"books of a transaction", "bigquery.tables.updateData", "_tidegate", "", loadsInTransaction, editor + "_tidegate (bigquery.tables.updateData is missing)", 3},
		{"books that are read", "bigquery.tables.getData", "_tidegate", "", loadsInTransaction, viewer + "_tidegate (bigquery.tables.getData is missing)", 3},
		{"reading", "bigquery.tables.getData", "web", "", queries, viewer + "web (bigquery.tables.getData is missing)", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, s := config(t)
			cfg.Staging = c.staging
			cfg.Credentials = secret.New(s.ServiceAccount(t, "writer@test", ""))
			w := open(t, cfg)
			ensure(t, w)
			if _, err := w.Load(t.Context(), warehouse.Load{ID: "first", Table: events}, tidegate.Rows(numbers, tidegate.Row{int64(1), "kept"}, tidegate.Row{int64(2), "kept"})); err != nil {
				t.Fatal(err)
			}
			s.Deny("writer@test", c.permission, c.dataset)
			for range 2 { // and again: nothing is left behind that makes it pass
				err := c.do(t, w)
				var f *tidegate.Fault
				if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Code != "warehouse.permission" || !strings.Contains(f.Hint, c.hint) {
					t.Fatalf("got %v with the hint %q, want %q", err, tidegate.FaultOf(err).Hint, c.hint)
				}
			}
			s.Deny("writer@test", "", "")
			if d := cmp.Diff([]tidegate.Row{{int64(1), "kept"}, {int64(2), "kept"}}, warehousetest.Rows(t, w, "SELECT id, v FROM web.t ORDER BY id")); d != "" {
				t.Error(d)
			}
			if left := s.Tables(t, "_tidegate_staging"); len(left) != 0 {
				t.Errorf("staged rows were left: %v", left)
			}
			for range 2 {
				if err := c.do(t, w); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff([]tidegate.Row{{c.rows}}, warehousetest.Rows(t, w, "SELECT COUNT(*) FROM web.t")); d != "" {
				t.Error(d)
			}
			if left := s.Tables(t, "_tidegate_staging"); len(left) != 0 {
				t.Errorf("in the end staged rows are left: %v", left)
			}
		})
	}
}

// TestReaderWithoutRights: a query runs as the account that reads, and is refused when that may not, whatever the one that loads may do.
func TestReaderWithoutRights(t *testing.T) {
	t.Parallel()
	cfg, s := config(t)
	cfg.Credentials, cfg.ReadCredentials = secret.New(s.ServiceAccount(t, "writer@test", "")), secret.New(s.ServiceAccount(t, "reader@test", ""))
	w := open(t, cfg)
	ensure(t, w)
	s.Deny("reader@test", "bigquery.tables.getData", "web")
	if f := tidegate.FaultOf(queries(t, w)); f.Action != tidegate.Halt || f.Code != "warehouse.permission" || !strings.Contains(f.Hint, "roles/bigquery.dataViewer on the dataset web") {
		t.Errorf("got %v", f)
	}
	if err := loads()(t, w); err != nil {
		t.Error(err)
	}
}
