package redshift_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/redshift"
	"github.com/tidegate/tidegate/warehouse/redshift/rstest"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// lacking is a right of the user that loads, or of its keys, without which something cannot be done.
type lacking struct {
	name        string
	take, give  func(t *testing.T, c *rstest.Cluster, user string)
	do          func(t *testing.T, w *redshift.Warehouse) error
	hint        string // with USER and DATABASE
	afterwards  int64  // rows of theirs.t when the right is there again and it was done once more
	needsUnmade bool   // the books are not there yet
}

// inDatabase is a GRANT or REVOKE; USER stands for the user and DATABASE for the database.
func inDatabase(sql string) func(t *testing.T, c *rstest.Cluster, user string) {
	return func(t *testing.T, c *rstest.Cluster, user string) {
		t.Helper()
		c.Postgres.Exec(t, c.Database, strings.NewReplacer("USER", user, "DATABASE x", "DATABASE "+c.Database).Replace(sql))
	}
}

// inBucket refuses calls of one method, as a policy does that does not allow them; "" allows all.
func inBucket(method string) func(t *testing.T, c *rstest.Cluster, user string) {
	return func(t *testing.T, c *rstest.Cluster, _ string) {
		t.Helper()
		c.S3.Intercept(func(call rstest.Call) *rstest.Answer {
			if call.Method != method {
				return nil
			}
			return &rstest.Answer{Status: http.StatusForbidden, Code: "AccessDenied", Message: "User: arn:aws:iam::123456789012:user/tidegate is not authorized to perform: s3:" + method + "Object"}
		})
	}
}

// ofRole has every COPY refused.
func ofRole(message string) func(t *testing.T, c *rstest.Cluster, user string) {
	return func(t *testing.T, c *rstest.Cluster, _ string) {
		t.Helper()
		c.Refuse(func(sql string) *pgproto3.ErrorResponse {
			if message == "" || !strings.HasPrefix(sql, "COPY ") {
				return nil
			}
			return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: message}
		})
	}
}

var (
	theirs       = warehouse.Table{Schema: "theirs", Name: "t"}
	theirColumns = columns("n", tidegate.Int, "v", tidegate.String)
)

func loadInto(key ...string) func(t *testing.T, w *redshift.Warehouse) error {
	return func(t *testing.T, w *redshift.Warehouse) error {
		t.Helper()
		n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: theirs, Key: key}, tidegate.Rows(theirColumns, tidegate.Row{int64(2), "new"}, tidegate.Row{int64(3), "new"}))
		if err == nil && n != 2 {
			t.Errorf("%d rows were loaded", n)
		}
		return err
	}
}

func ensureOf(table warehouse.Table, s tidegate.Schema) func(t *testing.T, w *redshift.Warehouse) error {
	return func(t *testing.T, w *redshift.Warehouse) error {
		t.Helper()
		_, err := w.Ensure(t.Context(), table, s)
		return err
	}
}

// lackings takes each right away in turn that docs/warehouses/redshift.md names, and those on tables of others.
var lackings = []lacking{
	{
		name: "CREATE on the database", take: inDatabase("REVOKE CREATE ON DATABASE x FROM USER"), give: inDatabase("GRANT CREATE ON DATABASE x TO USER"),
		do: ensureOf(warehouse.Table{Schema: "web", Name: "t"}, theirColumns), hint: "GRANT CREATE ON DATABASE DATABASE TO USER", afterwards: 2,
	},
	{
		name: "CREATE on the database, for the books", take: inDatabase("REVOKE CREATE ON DATABASE x FROM USER"), give: inDatabase("GRANT CREATE ON DATABASE x TO USER"),
		do: loadInto(), hint: "GRANT CREATE ON DATABASE DATABASE TO USER", afterwards: 4, needsUnmade: true,
	},
	{
		name: "TEMPORARY on the database", take: inDatabase("REVOKE TEMPORARY ON DATABASE x FROM USER"), give: inDatabase("GRANT TEMPORARY ON DATABASE x TO USER"),
		do: loadInto(), hint: "GRANT TEMPORARY ON DATABASE DATABASE TO USER", afterwards: 4,
	},
	{
		name: "USAGE on a schema", take: inDatabase("REVOKE USAGE ON SCHEMA theirs FROM USER"), give: inDatabase("GRANT USAGE ON SCHEMA theirs TO USER"),
		do: loadInto(), hint: "GRANT USAGE ON SCHEMA theirs TO USER", afterwards: 4,
	},
	{
		name: "CREATE on a schema", take: inDatabase("REVOKE CREATE ON SCHEMA theirs FROM USER"), give: inDatabase("GRANT CREATE ON SCHEMA theirs TO USER"),
		do: ensureOf(warehouse.Table{Schema: "theirs", Name: "more"}, theirColumns), hint: "GRANT USAGE ON SCHEMA theirs TO USER; and CREATE too", afterwards: 2,
	},
	{
		name: "INSERT on a table", take: inDatabase("REVOKE INSERT ON theirs.t FROM USER"), give: inDatabase("GRANT INSERT ON theirs.t TO USER"),
		do: loadInto(), hint: "GRANT SELECT ON t TO USER; and INSERT", afterwards: 4,
	},
	{
		name: "INSERT on a table, by key", take: inDatabase("REVOKE INSERT ON theirs.t FROM USER"), give: inDatabase("GRANT INSERT ON theirs.t TO USER"),
		do: loadInto("n"), hint: "GRANT SELECT ON t TO USER; and INSERT", afterwards: 3,
	},
	{
		name: "DELETE on a table", take: inDatabase("REVOKE DELETE ON theirs.t FROM USER"), give: inDatabase("GRANT DELETE ON theirs.t TO USER"),
		do: loadInto("n"), hint: "GRANT SELECT ON t TO USER; and INSERT, UPDATE, DELETE", afterwards: 3,
	},
	{
		name: "SELECT on a table", take: inDatabase("REVOKE SELECT ON theirs.t FROM USER"), give: inDatabase("GRANT SELECT ON theirs.t TO USER"),
		do: loadInto("n"), hint: "GRANT SELECT ON t TO USER", afterwards: 3,
	},
	{
		name: "INSERT on the books", take: inDatabase("REVOKE INSERT ON _tidegate.loads FROM USER"), give: inDatabase("GRANT INSERT ON _tidegate.loads TO USER"),
		do: loadInto(), hint: "GRANT SELECT ON loads TO USER; and INSERT", afterwards: 4,
	},
	{
		name: "UPDATE on the books", take: inDatabase("REVOKE UPDATE ON _tidegate.turns FROM USER"), give: inDatabase("GRANT UPDATE ON _tidegate.turns TO USER"),
		do: loadInto("n"), hint: "GRANT SELECT ON turns TO USER; and INSERT, UPDATE", afterwards: 3,
	},
	{
		name: "the table's ownership", take: inDatabase("SELECT 1"), give: inDatabase("ALTER TABLE theirs.t OWNER TO USER"),
		do: ensureOf(theirs, columns("n", tidegate.Int, "v", tidegate.String, "w", tidegate.Int)), hint: "ALTER TABLE t OWNER TO USER", afterwards: 2,
	},
	{
		name: "s3:PutObject", take: inBucket(http.MethodPut), give: inBucket(""), do: loadInto("n"),
		hint: "allow the access key s3:PutObject on arn:aws:s3:::" + rstest.Bucket + "/tidegate/*", afterwards: 3,
	},
	{
		name: "s3:GetObject of the role", take: ofRole("S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 1234,ExtRid abc,CanRetry 1"), give: ofRole(""), do: loadInto("n"),
		hint: "allow the role " + rstest.Role + " s3:GetObject on arn:aws:s3:::" + rstest.Bucket + "/tidegate/* and s3:ListBucket on arn:aws:s3:::" + rstest.Bucket, afterwards: 3,
	},
	{
		name: "the role", take: ofRole("User arn:aws:redshift:eu-central-1:123456789012:dbuser:shop/tidegate is not authorized to assume IAM Role " + rstest.Role), give: ofRole(""), do: loadInto(),
		hint: "associate the role " + rstest.Role + " (iam_role) with the cluster", afterwards: 4,
	},
}

// TestEveryMissingGrant takes each right away in turn, in a real server below the double: what needs it ends in a Halt
// that names the GRANT and what it is on, and has changed nothing, in the database or in the bucket; with the right the same load
// brings all of its rows, once.
func TestEveryMissingGrant(t *testing.T) {
	t.Parallel()
	for _, l := range lackings {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			cfg, c := config(t)
			user := "load_" + c.Database
			own := inDatabase(`CREATE ROLE USER LOGIN; REVOKE ALL ON DATABASE x FROM PUBLIC; GRANT CONNECT, CREATE, TEMPORARY ON DATABASE x TO USER;
				CREATE SCHEMA theirs; CREATE TABLE theirs.t (n bigint, v varchar(512)); INSERT INTO theirs.t VALUES (1, 'kept'), (2, 'kept');
				GRANT USAGE, CREATE ON SCHEMA theirs TO USER; GRANT SELECT, INSERT, UPDATE, DELETE ON theirs.t TO USER`)
			own(t, c, user)
			t.Cleanup(func() {
				c.Postgres.Exec(t, c.Database, "DROP OWNED BY "+user+" CASCADE; DROP ROLE "+user)
			})
			cfg.User = user
			w := open(t, cfg)
			defer w.Close()
			if !l.needsUnmade {
				if _, err := w.Load(t.Context(), warehouse.Load{ID: "books", Table: theirs}, tidegate.Rows(theirColumns)); err != nil {
					t.Fatal(err)
				}
			}
			l.take(t, c, user)
			for range 2 { // and again: nothing is left behind that makes it pass
				err := l.do(t, w)
				want := strings.NewReplacer("DATABASE DATABASE", "DATABASE "+c.Database, "USER", user).Replace(l.hint)
				var f *tidegate.Fault
				if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Code != "warehouse.permission" || !strings.HasPrefix(f.Hint, want) {
					t.Fatalf("got %v with the hint %q, want %q", err, tidegate.FaultOf(err).Hint, want)
				}
			}
			if got := c.Ask(t, "SELECT string_agg(n || ' ' || v, ', ' ORDER BY n) FROM theirs.t"); got != "1 kept, 2 kept" {
				t.Errorf("the table holds %s", got)
			}
			if left := c.S3.Keys(); len(left) != 0 {
				t.Errorf("the bucket holds %v", left)
			}
			l.give(t, c, user)
			if err := l.do(t, w); err != nil {
				t.Fatal(err)
			}
			if n, err := w.Load(t.Context(), warehouse.Load{ID: "x", Table: theirs}, tidegate.Rows(theirColumns)); n != 0 || err != nil {
				t.Errorf("again: %d, %v", n, err)
			}
			if d := cmp.Diff([]tidegate.Row{{l.afterwards}}, warehousetest.Rows(t, w, "SELECT count(*) FROM theirs.t")); d != "" {
				t.Error(d)
			}
			if left := c.S3.Keys(); len(left) != 0 {
				t.Errorf("in the end the bucket holds %v", left)
			}
		})
	}
}
