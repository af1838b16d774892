package rstest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

var copyStatement = regexp.MustCompile(`^COPY (\w+) FROM '(s3://[^']+)' (?:IAM_ROLE (?:'([^']+)'|(default))|ACCESS_KEY_ID '([^']+)' SECRET_ACCESS_KEY '([^']+)'(?: SESSION_TOKEN '[^']+')?) MANIFEST FORMAT AS JSON 'auto' GZIP REGION '([^']+)' DATEFORMAT 'auto' TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF$`)

// copied is a column of the table that is loaded.
type copied struct {
	name   string
	oid    string
	length int // of a VARCHAR, in bytes
}

// source is an object and the number of its first row.
type source struct {
	uri   string
	first int
}

// copyIn does a COPY from the bucket.
func (p *proxied) copyIn(sql string) error {
	m := copyStatement.FindStringSubmatch(sql)
	var refused *pgproto3.ErrorResponse
	switch {
	case m == nil:
		refused = refusal("42601", "syntax error in COPY")
	case m[3] != "" && m[3] != Role:
		refused = refusal("XX000", "Not authorized to get credentials of role "+m[3])
	case m[3] == "" && m[4] == "" && (m[5] != AccessKey || m[6] != SecretKey):
		refused = refusal("XX000", "S3ServiceException:The AWS Access Key Id you provided does not exist in our records.,Status 403,Error InvalidAccessKeyId,Rid 1234")
	case m[7] != Region:
		refused = refusal("XX000", "S3ServiceException:The bucket is in this region: "+Region+".,Status 301,Error PermanentRedirect,Rid 1234")
	}
	if refused == nil {
		refused = p.c.refused(sql)
	}
	if refused != nil {
		return p.refuseCopy(refused)
	}
	columns, err := p.columns(m[1])
	if err != nil {
		return err
	}
	data, sources, refused := p.c.gather(m[2], columns)
	if refused != nil {
		return p.refuseCopy(refused)
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	failed, err := p.feed("COPY "+m[1]+" ("+strings.Join(names, ", ")+") FROM STDIN", data)
	if err != nil {
		return err
	}
	if failed == nil {
		p.client.Send(&pgproto3.CommandComplete{CommandTag: []byte("COPY")})
		p.client.Send(&pgproto3.ReadyForQuery{TxStatus: p.status})
		return p.client.Flush()
	}
	if err := p.c.explain(p.pid, failed, sources); err != nil {
		return err
	}
	p.failed = refusal("XX000", "Load into table '"+m[1]+"' failed.  Check 'sys_load_error_detail' system table for details.")
	return p.answer()
}

// refuseCopy answers with an error, and lets a transaction fail with it.
func (p *proxied) refuseCopy(e *pgproto3.ErrorResponse) error {
	p.failed = e
	if p.status != 'T' {
		return p.answer()
	}
	p.server.Send(&pgproto3.Query{String: "the double refused this"})
	if err := p.server.Flush(); err != nil {
		return err
	}
	return p.relay()
}

// columns asks the server, over the client's connection, what a table's columns are.
func (p *proxied) columns(table string) ([]copied, error) {
	p.server.Send(&pgproto3.Query{String: "SELECT attname, atttypid::text, atttypmod FROM pg_attribute WHERE attrelid = '" + table + "'::regclass AND attnum > 0 ORDER BY attnum"})
	if err := p.server.Flush(); err != nil {
		return nil, err
	}
	var list []copied
	for {
		m, err := p.server.Receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			length, _ := strconv.Atoi(string(m.Values[2]))
			list = append(list, copied{name: string(m.Values[0]), oid: string(m.Values[1]), length: length - 4})
		case *pgproto3.ReadyForQuery:
			p.status = m.TxStatus
			return list, nil
		}
	}
}

type manifest struct {
	Entries []struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"`
	} `json:"entries"`
}

// gather reads the objects of a manifest as the rows of a COPY in PostgreSQL's text format.
func (c *Cluster) gather(uri string, columns []copied) (data []byte, sources []source, refused *pgproto3.ErrorResponse) {
	text, ok := c.S3.get(uri)
	var list manifest
	if !ok || json.Unmarshal(text, &list) != nil || len(list.Entries) == 0 {
		return nil, nil, refusal("XX000", "Problem reading manifest file - S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid 1234")
	}
	var out bytes.Buffer
	rows := 0
	spoil := c.spoil.Swap(nil)
	for _, e := range list.Entries {
		packed, ok := c.S3.get(e.URL)
		if !ok {
			if !e.Mandatory {
				continue
			}
			return nil, nil, refusal("XX000", "S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid 1234,CanRetry 1")
		}
		zip, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, nil, refusal("XX000", "Invalid GZIP header")
		}
		plain, err := io.ReadAll(zip)
		if err != nil {
			return nil, nil, refusal("XX000", "failed to inflate with gzip: invalid or incomplete deflate data")
		}
		if spoil != nil {
			plain = bytes.ReplaceAll(plain, []byte(spoil[0]), []byte(spoil[1]))
		}
		sources = append(sources, source{e.URL, rows})
		for line := range bytes.Lines(plain) {
			if len(line) > 4<<20 {
				return nil, nil, refusal("XX000", "String length exceeds DDL length: a JSON object is larger than 4 MB")
			}
			if err := appendRow(&out, line, columns); err != nil {
				return nil, nil, refusal("XX000", "Invalid JSON object: "+err.Error())
			}
			rows++
		}
	}
	return out.Bytes(), sources, nil
}

// appendRow writes a JSON object as a row of a COPY.
func appendRow(out *bytes.Buffer, line []byte, columns []copied) error {
	cells := make(map[string]json.RawMessage, len(columns))
	if err := json.Unmarshal(line, &cells); err != nil {
		return err
	}
	for i, c := range columns {
		if i > 0 {
			out.WriteByte('\t')
		}
		raw, ok := cells[c.name]
		delete(cells, c.name)
		text := string(raw)
		switch {
		case !ok || c.oid != "3802" && text == "null":
			out.WriteString(`\N`)
			continue
		case c.oid == "3802":
		case raw[0] == '"':
			if err := json.Unmarshal(raw, &text); err != nil {
				return err
			}
		}
		if c.oid == "17" {
			if _, err := hex.DecodeString(text); err != nil {
				return err
			}
			text = `\x` + text
		}
		if c.oid == "1043" && len(text) > c.length {
			text = strings.Repeat("x", c.length+1) // too long also where characters are counted
		}
		out.WriteString(escapes.Replace(text))
	}
	if len(cells) > 0 {
		return errors.New("a key that no column has")
	}
	out.WriteByte('\n')
	return nil
}

var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

// feed runs a COPY of PostgreSQL's and returns its error, if the server had one.
func (p *proxied) feed(sql string, data []byte) (failed *pgproto3.ErrorResponse, err error) {
	p.server.Send(&pgproto3.Query{String: sql})
	if err := p.server.Flush(); err != nil {
		return nil, err
	}
	for {
		m, err := p.server.Receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.CopyInResponse:
			for len(data) > 0 {
				n := min(len(data), 1<<16)
				p.server.Send(&pgproto3.CopyData{Data: data[:n]})
				data = data[n:]
				if err := p.server.Flush(); err != nil {
					return nil, err
				}
			}
			p.server.Send(&pgproto3.CopyDone{})
			if err := p.server.Flush(); err != nil {
				return nil, err
			}
		case *pgproto3.ErrorResponse:
			e := *m
			failed = &e
		case *pgproto3.ReadyForQuery:
			p.status = m.TxStatus
			return failed, nil
		}
	}
}

var copyContext = regexp.MustCompile(`^COPY .*, line (\d+), column (\w+)`)

// explain writes what an error of a COPY was about into the system table.
func (c *Cluster) explain(pid uint32, e *pgproto3.ErrorResponse, sources []source) error {
	line, name := 0, ""
	if m := copyContext.FindStringSubmatch(e.Where); m != nil {
		line, _ = strconv.Atoi(m[1])
		name = m[2]
	}
	var from source
	for _, s := range sources {
		if s.first < line {
			from = s
		}
	}
	return c.admin("INSERT INTO pg_catalog.sys_load_error_detail VALUES ($1, now(), $2, $3, $4, $5)", fmt.Append(nil, pid), []byte(from.uri), fmt.Append(nil, line-from.first), []byte(name), []byte(e.Message))
}
