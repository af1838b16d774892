package rstest

import (
	"bytes"
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// proxied is one connection: a client of Redshift on one side and PostgreSQL on the other. It works in turns: what
// the client sends up to a Query or a Sync, and then what the server answers until it is ready.
type proxied struct {
	c      *Cluster
	client *pgproto3.Backend
	server *pgproto3.Frontend
	near   net.Conn
	far    net.Conn

	pid    uint32
	status byte
	// failed: after an error of the double's own the rest of the client's messages are passed over, as a server does.
	failed *pgproto3.ErrorResponse
	// bytes says which parameters of the statement that was described last are VARBYTE.
	bytes []bool
	hexed []bool // columns of the result that are
	// named says, of statements that are prepared, which parameters the catalogue's names are compared with.
	named map[string]map[int]bool
}

// begin handles the first message; false when there is nothing more to do.
func (p *proxied) begin() bool {
	m, err := p.client.ReceiveStartupMessage()
	if err != nil {
		return false
	}
	switch m := m.(type) {
	case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
		_, err := p.near.Write([]byte("N"))
		return err == nil && p.begin()
	case *pgproto3.CancelRequest:
		p.server.Send(m)
		if p.server.Flush() == nil {
			_, _ = p.far.Read(make([]byte, 1)) // until the server has heard it
		}
		return false
	case *pgproto3.StartupMessage:
		for name := range m.Parameters {
			switch name {
			case "user", "database", "application_name", "client_encoding":
			default:
				p.client.Send(refusal("42704", `unrecognized configuration parameter "`+name+`"`))
				_ = p.client.Flush()
				return false
			}
		}
		p.server.Send(m)
		if p.server.Flush() != nil || p.login() != nil {
			return false
		}
		return true
	}
	return false
}

// login relays until the server is ready.
func (p *proxied) login() error {
	for {
		m, err := p.server.Receive()
		if err != nil {
			return err
		}
		if key, ok := m.(*pgproto3.BackendKeyData); ok {
			p.pid = key.ProcessID
		}
		p.client.Send(m)
		if asked, ok := authentication(m); ok {
			if err := p.password(asked); err != nil {
				return err
			}
			continue
		}
		ready, ok := m.(*pgproto3.ReadyForQuery)
		_, refused := m.(*pgproto3.ErrorResponse)
		if ok || refused {
			if ok {
				p.status = ready.TxStatus
			}
			return p.client.Flush()
		}
	}
}

// authentication is what a message asks a client for.
func authentication(m pgproto3.BackendMessage) (kind uint32, ok bool) {
	switch m.(type) {
	case *pgproto3.AuthenticationCleartextPassword:
		return pgproto3.AuthTypeCleartextPassword, true
	case *pgproto3.AuthenticationMD5Password:
		return pgproto3.AuthTypeMD5Password, true
	case *pgproto3.AuthenticationSASL:
		return pgproto3.AuthTypeSASL, true
	case *pgproto3.AuthenticationSASLContinue:
		return pgproto3.AuthTypeSASLContinue, true
	}
	return 0, false
}

// password relays one answer of the client to a server that asks who it is.
func (p *proxied) password(asked uint32) error {
	if err := errors.Join(p.client.Flush(), p.client.SetAuthType(asked)); err != nil {
		return err
	}
	m, err := p.client.Receive()
	if err != nil {
		return err
	}
	p.server.Send(m)
	return p.server.Flush()
}

func (p *proxied) run() error {
	for {
		m, err := p.client.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.Query:
			err = p.query(m.String)
		case *pgproto3.Parse:
			if p.failed == nil {
				err = p.parse(m)
			}
		case *pgproto3.Sync:
			p.server.Send(m)
			if err = p.server.Flush(); err == nil {
				err = p.relay()
			}
		case *pgproto3.Terminate:
			p.server.Send(m)
			_ = p.server.Flush()
			return net.ErrClosed
		case *pgproto3.Bind:
			if p.failed == nil {
				p.server.Send(p.bind(m))
			}
		default:
			if p.failed == nil {
				p.server.Send(m)
			}
		}
		if err != nil {
			return err
		}
	}
}

func (p *proxied) note(sql string) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.c.statements = append(p.c.statements, sql)
}

func (p *proxied) rewrite(sql string) (string, *pgproto3.ErrorResponse) {
	p.note(sql)
	if refused := p.c.refused(sql); refused != nil {
		return "", refused
	}
	return p.c.rewrite(sql, p.status != 'I')
}

func (p *proxied) parse(m *pgproto3.Parse) error {
	sql, refused := p.rewrite(m.Query)
	if refused != nil {
		p.failed = refused
		if p.status == 'T' { // the transaction fails with it
			p.server.Send(&pgproto3.Parse{Query: "the double refused this"})
		}
		return nil
	}
	if p.named == nil {
		p.named = map[string]map[int]bool{}
	}
	p.named[m.Name] = namesIn(m.Query)
	p.server.Send(&pgproto3.Parse{Name: m.Name, Query: sql, ParameterOIDs: m.ParameterOIDs})
	return nil
}

var nameParameter = regexp.MustCompile(`\b(?:nspname|relname|attname|namespace_name|relation_name) = \$(\d+)`)

// namesIn are the parameters, from 0, that a statement compares with the catalogue's names.
func namesIn(sql string) map[int]bool {
	named := map[int]bool{}
	for _, m := range nameParameter.FindAllStringSubmatch(sql, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			named[n-1] = true
		}
	}
	return named
}

// bind writes parameters as PostgreSQL wants them.
func (p *proxied) bind(m *pgproto3.Bind) *pgproto3.Bind {
	for i, value := range m.Parameters {
		switch {
		case value == nil:
		case i < len(p.bytes) && p.bytes[i]:
			m.Parameters[i] = append([]byte(`\x`), value...)
		case p.named[m.PreparedStatement][i]:
			m.Parameters[i] = []byte(p.c.short(string(value)))
		}
	}
	return m
}

func (p *proxied) query(sql string) error {
	if strings.HasPrefix(sql, "COPY ") && strings.Contains(sql, "'s3://") {
		p.note(sql)
		return p.copyIn(sql)
	}
	text, refused := p.rewrite(sql)
	if refused != nil {
		p.failed = refused
		if p.status != 'T' {
			return p.answer()
		}
		text = "the double refused this"
	}
	after := false
	if sql == "COMMIT" {
		switch p.c.armed.Swap(NoCut) {
		case BeforeCommit:
			p.c.cuts.Add(1)
			return errCut
		case AfterCommit:
			after = true
		}
	}
	p.server.Send(&pgproto3.Query{String: text})
	if err := p.server.Flush(); err != nil {
		return err
	}
	if after {
		for {
			m, err := p.server.Receive()
			if _, ready := m.(*pgproto3.ReadyForQuery); ready || err != nil {
				p.c.cuts.Add(1)
				return errCut
			}
		}
	}
	return p.relay()
}

// answer sends the error of the double's own.
func (p *proxied) answer() error {
	p.client.Send(p.failed)
	p.client.Send(&pgproto3.ReadyForQuery{TxStatus: p.status})
	p.failed = nil
	return p.client.Flush()
}

// relay passes on what the server answers, as Redshift would have it, until it is ready.
func (p *proxied) relay() error {
	for n := 1; ; n++ {
		m, err := p.server.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.RowDescription:
			p.describe(m)
		case *pgproto3.ParameterDescription:
			p.bytes = p.bytes[:0]
			for i, oid := range m.ParameterOIDs {
				p.bytes = append(p.bytes, oid == 17)
				m.ParameterOIDs[i] = redshiftOID(oid)
			}
		case *pgproto3.DataRow:
			p.row(m)
		case *pgproto3.ErrorResponse:
			told(m)
			if p.failed != nil {
				*m, p.failed = *p.failed, nil
			}
		case *pgproto3.ReadyForQuery:
			p.status = m.TxStatus
			if p.failed != nil { // nobody has told it yet
				return p.answer()
			}
		}
		p.client.Send(m)
		_, ready := m.(*pgproto3.ReadyForQuery)
		if ready || n%100 == 0 || p.server.ReadBufferLen() == 0 {
			if err := p.client.Flush(); err != nil {
				return err
			}
		}
		if ready {
			return nil
		}
	}
}

func redshiftOID(oid uint32) uint32 {
	switch oid {
	case 3802:
		return 4000
	case 17:
		return 6551
	}
	return oid
}

func (p *proxied) describe(m *pgproto3.RowDescription) {
	p.hexed = p.hexed[:0]
	for i := range m.Fields {
		f := &m.Fields[i]
		p.hexed = append(p.hexed, f.DataTypeOID == 17)
		f.DataTypeOID = redshiftOID(f.DataTypeOID)
		f.Name = []byte(p.c.long(string(f.Name)))
	}
}

func (p *proxied) row(m *pgproto3.DataRow) {
	for i, v := range m.Values {
		switch {
		case v == nil:
		case i < len(p.hexed) && p.hexed[i]:
			m.Values[i] = bytes.TrimPrefix(v, []byte(`\x`))
		case len(v) <= 63 && bytes.Contains(v, []byte(aliased)):
			m.Values[i] = []byte(p.c.long(string(v)))
		}
	}
}

// told tells an error as Redshift does.
func told(m *pgproto3.ErrorResponse) {
	switch m.Code {
	case "40001":
		*m = pgproto3.ErrorResponse{
			Severity: "ERROR", Code: "XX000", Message: "1023",
			Detail: "Serializable isolation violation on table - 126483, transactions forming the cycle are: 36848255, 36848254 (pid:1234)",
		}
	case "42501":
		m.Message = relations.Replace(m.Message)
	}
}

// relations: PostgreSQL has other words for tables and views since version 11.
var relations = strings.NewReplacer("permission denied for table ", "permission denied for relation ", "permission denied for view ", "permission denied for relation ",
	"must be owner of table ", "must be owner of relation ")
