package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/tidegate/tidegate"
)

// Line is one line of a streamed answer; exactly one field is set. A stream
// that does not close with End or Error was cut off: it is never to be taken for a
// whole one (Invariant 6).
type Line struct {
	Columns []ColumnInfo      `json:"columns,omitempty"`
	Row     []json.RawMessage `json:"row,omitempty"`
	Event   *TailedEvent      `json:"event,omitempty"`
	Lent    *Lent             `json:"lent,omitempty"`
	End     *End              `json:"end,omitempty"`
	Error   *Problem          `json:"error,omitempty"`
}

// End closes a stream that is whole.
type End struct {
	Count int64 `json:"count"`
	// Truncated says that the limit was reached and there is more.
	Truncated bool `json:"truncated,omitempty"`
}

// Lent says that the warehouse's file is the client's.
type Lent struct {
	Path string `json:"path"`
}

// lines writes the lines of one answer.
type lines struct {
	w     http.ResponseWriter
	enc   *json.Encoder
	flush func() error
	count int64
}

// streamed makes an NDJSON answer out of write. An error that write returns
// becomes the last line; before the first line it becomes a plain problem.
func streamed(write func(ctx context.Context, r *http.Request, out *lines) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humachi.Unwrap(hc)
		out := &lines{w: w, enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
		out.enc.SetEscapeHTML(false)
		err := write(r.Context(), r, out)
		switch {
		case err == nil:
		case w.Header().Get("Content-Type") == "":
			writeProblem(w, problemOf(err))
		case w.Header().Get("Content-Type") == ndjson: // server-sent events have said it
			_ = out.put(Line{Error: problemOf(err)}) // the client may be gone
		}
	}}
}

const ndjson = "application/x-ndjson"

// start sends the headers, so that the client knows that the answer runs.
func (l *lines) start() error {
	if l.w.Header().Get("Content-Type") == ndjson {
		return nil
	}
	l.w.Header().Set("Content-Type", ndjson)
	l.w.WriteHeader(http.StatusOK)
	return l.flush()
}

func (l *lines) put(v Line) error {
	if err := l.start(); err != nil {
		return err
	}
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	return l.flush()
}

// QueryRequest asks for rows.
type QueryRequest struct {
	Warehouse string `json:"warehouse,omitempty" maxLength:"63" doc:"One of the further warehouses; empty: the one that events go to."`
	SQL       string `json:"sql" minLength:"1" maxLength:"65535" doc:"One read-only statement."`
	Limit     int64  `json:"limit,omitempty" minimum:"0" maximum:"1000000000" doc:"At most so many rows; 0 means 10,000."`
}

const (
	defaultQueryRows = 10_000
	flushEvery       = 100 * time.Millisecond
)

func (s *server) query(_ context.Context, in *struct{ Body QueryRequest }) (*huma.StreamResponse, error) {
	limit := in.Body.Limit
	if limit == 0 {
		limit = defaultQueryRows
	}
	return streamed(func(ctx context.Context, _ *http.Request, out *lines) (err error) {
		rows, err := s.o.Hub.Query(ctx, in.Body.Warehouse, in.Body.SQL)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		if err := out.put(Line{Columns: Columns(rows.Schema())}); err != nil {
			return err
		}
		flushed := s.o.Now()
		for {
			row, err := rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return out.put(Line{End: &End{Count: out.count}})
			}
			if err != nil {
				return err
			}
			if out.count == limit {
				return out.put(Line{End: &End{Count: out.count, Truncated: true}})
			}
			if err := out.enc.Encode(Line{Row: EncodeRow(row)}); err != nil {
				return err
			}
			out.count++
			if now := s.o.Now(); now.Sub(flushed) > flushEvery {
				flushed = now
				if err := out.flush(); err != nil {
					return err
				}
			}
		}
	}), nil
}

// Columns describes a schema to clients.
func Columns(schema tidegate.Schema) []ColumnInfo {
	list := make([]ColumnInfo, len(schema))
	for i, c := range schema {
		list[i] = ColumnInfo{Name: c.Name, Type: c.Type.String()}
	}
	return list
}

// EncodeRow writes a row's cells as JSON: decimals as text, times as RFC 3339
// in UTC, bytes as base64, JSON as itself; NaN and the infinities as text.
func EncodeRow(row tidegate.Row) []json.RawMessage {
	cells := make([]json.RawMessage, len(row))
	for i, v := range row {
		cells[i] = encodeCell(v)
	}
	return cells
}

func encodeCell(v any) json.RawMessage {
	switch v := v.(type) {
	case nil:
		return json.RawMessage("null")
	case int64:
		return strconv.AppendInt(nil, v, 10)
	case tidegate.JSONText:
		if json.Valid([]byte(v)) {
			return json.RawMessage(v)
		}
		return marshalCell(string(v))
	case tidegate.CalendarDate:
		return marshalCell(v.String())
	case time.Time:
		return marshalCell(v.UTC().Format("2006-01-02T15:04:05.999999Z"))
	case []byte:
		return marshalCell(base64.StdEncoding.EncodeToString(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return marshalCell(strconv.FormatFloat(v, 'g', -1, 64))
		}
		return marshalCell(v)
	default:
		return marshalCell(v)
	}
}

func marshalCell(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // texts, booleans and finite numbers always encode
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

type tailIn struct {
	Source  string    `query:"source" doc:"Events of this source only."`
	From    string    `query:"from" doc:"The first offset, partition:position."`
	Since   time.Time `query:"since" doc:"The first arrival, RFC 3339."`
	Type    string    `query:"type" doc:"Events of this type only."`
	Event   string    `query:"event" doc:"Track events of this name only."`
	User    string    `query:"user" doc:"Events of this userId or anonymousId only."`
	Filter  string    `query:"filter" maxLength:"8192" doc:"A condition in CEL over event, source, type, name, message_id, user_id, anonymous_id, received_at and refusal."`
	Refused bool      `query:"refused" doc:"Refused events only."`
	Follow  bool      `query:"follow" doc:"Wait for more."`
	Limit   int       `query:"limit" minimum:"0" doc:"At most so many; 0 means no limit when following and 100 otherwise."`
	LastID  string    `header:"Last-Event-ID" doc:"The offset after which a browser goes on."`
	Accept  string    `header:"Accept" doc:"text/event-stream gives server-sent events."`
}

func (s *server) tailEvents(_ context.Context, in *tailIn) (*huma.StreamResponse, error) {
	req := TailRequest{Source: in.Source, Type: in.Type, Event: in.Event, User: in.User, Filter: in.Filter, Since: in.Since, Refused: in.Refused, Follow: in.Follow, Limit: in.Limit}
	if !req.Follow && req.Limit == 0 {
		req.Limit = 100
	}
	begin, err := streamFrom("", "", in.From, in.Since)
	if err != nil {
		return nil, err
	}
	req.From = begin.Next
	if strings.Contains(in.Accept, sse) {
		return s.tailAsEvents(req, in.LastID)
	}
	return streamed(func(ctx context.Context, _ *http.Request, out *lines) error {
		opened := func() error { return nil }
		if req.Follow { // there may be nothing to say for long
			opened = out.start
		}
		err := s.o.Hub.Tail(ctx, req, opened, func(e TailedEvent) error {
			out.count++
			return out.put(Line{Event: &e})
		})
		if err != nil {
			return err
		}
		return out.put(Line{End: &End{Count: out.count}})
	}), nil
}

// ParseOffset reads "partition:position".
func ParseOffset(text string) (tidegate.Offset, error) {
	for i := range len(text) {
		if text[i] != ':' {
			continue
		}
		partition, err1 := strconv.ParseInt(text[:i], 10, 32)
		position, err2 := strconv.ParseInt(text[i+1:], 10, 64)
		if err1 == nil && err2 == nil && partition >= 0 && position >= 0 {
			return tidegate.Offset{Partition: int32(partition), Position: position}, nil
		}
	}
	return tidegate.Offset{}, newProblem(http.StatusBadRequest, "request.invalid", strconv.Quote(text)+" is no offset", "write partition:position, as in 0:42")
}

func (s *server) listTables(ctx context.Context, _ *nothing) (*body[list[TableInfo]], error) {
	return answerList(s.o.Hub.Tables(ctx))
}

func (s *server) explain(ctx context.Context, in *struct {
	Source  string `query:"source" doc:"The source that the event comes from; needed when there are several."`
	RawBody []byte `contentType:"application/json"`
},
) (*body[Explanation], error) {
	if !json.Valid(in.RawBody) {
		return nil, newProblem(http.StatusUnprocessableEntity, "event.invalid", "the event is not JSON", "send one JSON object")
	}
	return answer(s.o.Hub.Explain(ctx, in.Source, json.RawMessage(in.RawBody)))
}

// lendWarehouse gives the file up for as long as the request's body stays
// open: a client that ends, in whatever way, gives it back.
func (s *server) lendWarehouse(_ context.Context, in *struct {
	By string `query:"by" maxLength:"100" doc:"Who borrows it, as others are told: a program's name, never its arguments."`
},
) (*huma.StreamResponse, error) {
	return streamed(func(ctx context.Context, r *http.Request, out *lines) error {
		if err := http.NewResponseController(out.w).EnableFullDuplex(); err != nil {
			return errors.Join(errors.New("lending over this connection"), err)
		}
		err := s.o.Hub.Lend(ctx, in.By, func(_ context.Context, path string) error {
			if err := out.put(Line{Lent: &Lent{Path: path}}); err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20)) // its end is the news, not its error
			return nil
		})
		if err != nil {
			return err
		}
		return out.put(Line{End: &End{}})
	}), nil
}
