package rstest

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidegate/tidegate/warehouse/postgres/pgtest"
)

// Where a connection is cut by Cut.
const (
	NoCut int32 = iota
	BeforeCommit
	AfterCommit
)

// Cluster is one database of the double.
type Cluster struct {
	Host     string
	Port     int
	Database string
	User     string
	S3       *S3
	Postgres *pgtest.Server

	armed  atomic.Int32
	cuts   atomic.Int32
	refuse atomic.Pointer[func(sql string) *pgproto3.ErrorResponse]
	spoil  atomic.Pointer[[2]string]

	listener net.Listener
	group    sync.WaitGroup
	names    sync.Map // aliases of long names

	mu         sync.Mutex
	conns      map[net.Conn]struct{}
	statements []string
	views      map[string]string // those that hold on to no table, and how they are made
	closed     bool
}

// prelude is what Redshift has in its catalogue and PostgreSQL has not.
const prelude = `SET allow_system_table_mods = on;
CREATE FUNCTION pg_catalog.rs_version() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), Redshift 1.0.77467'::text $$;
CREATE FUNCTION pg_catalog.json_parse(text) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1::jsonb $$;
CREATE FUNCTION pg_catalog.json_serialize(jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1::text $$;
CREATE FUNCTION pg_catalog.len(text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT length($1) $$;
CREATE FUNCTION pg_catalog.from_varbyte(bytea, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT replace(encode($1, $2), E'\n', '') $$;
CREATE VIEW pg_catalog.rs_attribute AS SELECT attrelid, attname, CASE atttypid WHEN 3802 THEN 4000 WHEN 17 THEN 6551 ELSE atttypid END::oid AS atttypid, atttypmod, attnum, attisdropped,
	coalesce(obj_description(attrelid, 'pg_class')::json ->> 'dist' = attname, false) AS attisdistkey,
	coalesce((SELECT k.ordinality FROM json_array_elements_text(coalesce(nullif(obj_description(attrelid, 'pg_class')::json -> 'sort' #>> '{}', null), '[]')::json) WITH ORDINALITY AS k(name) WHERE k.name = attname), 0)::smallint AS attsortkeyord
	FROM pg_catalog.pg_attribute;
CREATE VIEW pg_catalog.svv_relation_privileges AS SELECT table_schema::text AS namespace_name, table_name::text AS relation_name, privilege_type::text AS privilege_type,
	CASE grantee WHEN 'PUBLIC' THEN 'public' ELSE 'user' END AS identity_type, grantee::text AS identity_name FROM information_schema.role_table_grants;
CREATE TABLE pg_catalog.rs_external (schemaname text, tablename text);
CREATE VIEW pg_catalog.svv_external_tables AS SELECT * FROM pg_catalog.rs_external;
CREATE TABLE pg_catalog.sys_load_error_detail (session_id integer, start_time timestamp, file_name character(256), line_number bigint, column_name character(127), error_message character(512));
GRANT SELECT ON pg_catalog.rs_attribute, pg_catalog.svv_relation_privileges, pg_catalog.svv_external_tables, pg_catalog.sys_load_error_detail TO PUBLIC`

// New makes an empty database with a bucket of its own; both end with tb.
func New(tb testing.TB, server *pgtest.Server) *Cluster {
	tb.Helper()
	c := &Cluster{Postgres: server, Database: server.Database(tb), User: pgtest.Superuser, S3: NewS3(tb), conns: map[net.Conn]struct{}{}, views: map[string]string{}}
	server.Exec(tb, c.Database, prelude+hashes)
	server.Exec(tb, c.Database, `ALTER DATABASE "`+c.Database+`" SET jit = off`) // statements are long here, and run once
	var err error
	if c.listener, err = (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	c.Host, c.Port = "127.0.0.1", c.listener.Addr().(*net.TCPAddr).Port
	c.group.Go(c.serve)
	tb.Cleanup(c.close)
	return c
}

// Refuse lets f answer a statement in the place of the server where it returns an error.
func (c *Cluster) Refuse(f func(sql string) *pgproto3.ErrorResponse) { c.refuse.Store(&f) }

// refused is the error by which a test has a statement refused, nil for none.
func (c *Cluster) refused(sql string) *pgproto3.ErrorResponse {
	if f := c.refuse.Load(); f != nil {
		return (*f)(sql)
	}
	return nil
}

// Cut breaks the next connection on which a COMMIT passes, before or after the server has it.
func (c *Cluster) Cut(where int32) { c.armed.Store(where) }

// Cuts says how many connections were cut.
func (c *Cluster) Cuts() int { return int(c.cuts.Load()) }

// Statements are all that were sent, as they were sent.
func (c *Cluster) Statements() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.statements...)
}

func (c *Cluster) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	c.closed = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.group.Wait()
}

// own remembers a connection that close is to close; false after close.
func (c *Cluster) own(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.conns[conn] = struct{}{}
	return true
}

func (c *Cluster) disown(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *Cluster) serve() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.group.Go(func() { c.connection(near) })
	}
}

func (c *Cluster) connection(near net.Conn) {
	defer c.disown(near)
	far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(c.Postgres.Host, strconv.Itoa(c.Postgres.Port)))
	if err != nil {
		return
	}
	defer c.disown(far)
	if !c.own(near) || !c.own(far) {
		return
	}
	p := &proxied{c: c, client: pgproto3.NewBackend(near, near), server: pgproto3.NewFrontend(far, far), far: far, near: near}
	for p.begin() {
		if err := p.run(); err != nil {
			return
		}
	}
}

// admin runs statements as the superuser over a connection of its own.
func (c *Cluster) admin(sql string, args ...[]byte) error {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, c.Postgres.URL(pgtest.Superuser, c.Database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.ExecParams(ctx, sql, args, nil, nil, nil).Read().Err
}

var errCut = errors.New("the connection was cut")

// Ask asks the server below the double, which knows more, for one value.
func (c *Cluster) Ask(tb testing.TB, sql string) string {
	tb.Helper()
	ctx := tb.Context()
	conn, err := pgconn.Connect(ctx, c.Postgres.URL(pgtest.Superuser, c.Database))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	result := conn.ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	if result.Err != nil || len(result.Rows) != 1 {
		tb.Fatalf("%s: %d rows, %v", sql, len(result.Rows), result.Err)
	}
	return string(result.Rows[0][0])
}

// Spoil lets the next COPY find from as to in the rows, as if the bucket had spoilt them.
func (c *Cluster) Spoil(from, to string) { c.spoil.Store(&[2]string{from, to}) }
