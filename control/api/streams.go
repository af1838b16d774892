package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tidegate/tidegate"
)

const (
	// patience is how long a reader may take for what it is sent. A slower one is
	// disconnected; it goes on from the last id that it has got.
	patience = 10 * time.Second
	// stillAlive is how often a stream without events says how far it has come.
	stillAlive = 15 * time.Second
	sse        = "text/event-stream"
)

func (s *server) listStreams(ctx context.Context, _ *nothing) (*body[list[tidegate.Stream]], error) {
	all, err := s.o.Hub.Streams(ctx)
	mine := []tidegate.Stream{}
	for _, st := range all {
		if who(ctx).MayStream(st.Name) {
			mine = append(mine, st)
		}
	}
	return answerList(mine, err)
}

type streamIn struct {
	Name   string    `path:"name" maxLength:"63"`
	After  string    `query:"after" doc:"The offset after which it goes on, as the id of the last event."`
	From   string    `query:"from" doc:"The first offset, partition:position."`
	Since  time.Time `query:"since" doc:"The first arrival, RFC 3339."`
	Follow string    `query:"follow" enum:"true,false" doc:"Wait for more; true unless false is said."`
	LastID string    `header:"Last-Event-ID" doc:"What browsers send when they come back: after."`
	Accept string    `header:"Accept"`
}

func (s *server) readStream(ctx context.Context, in *streamIn) (*huma.StreamResponse, error) {
	if !who(ctx).MayStream(in.Name) {
		return nil, newProblem(http.StatusForbidden, "auth.denied", "the token is bound to another stream", "use a token of the role stream:"+in.Name)
	}
	from, err := streamFrom(in.LastID, in.After, in.From, in.Since)
	if err != nil {
		return nil, err
	}
	from.Follow = in.Follow != "false"
	return s.flow(in.Accept, func(ctx context.Context, emit func(StreamItem) error) error {
		return s.o.Hub.Stream(ctx, in.Name, from, emit)
	}), nil
}

func streamFrom(lastID, after, first string, since time.Time) (StreamFrom, error) {
	from := StreamFrom{Since: since}
	if after != "" && first != "" || (after != "" || first != "") && !since.IsZero() {
		return from, newProblem(http.StatusBadRequest, "request.invalid", "after, from and since say different beginnings", "name one of them")
	}
	if lastID == "" {
		lastID = after
	}
	text := lastID
	if text == "" {
		text = first
	}
	if text == "" {
		return from, nil
	}
	o, err := ParseOffset(text)
	if err != nil {
		return from, err
	}
	if lastID != "" {
		o.Position++
	}
	from.Next = &o
	return from, nil
}

// flow answers with a stream in the form that accept asks for.
func (s *server) flow(accept string, read func(ctx context.Context, emit func(StreamItem) error) error) *huma.StreamResponse {
	return streamed(func(ctx context.Context, _ *http.Request, out *lines) error {
		w := &flowWriter{w: out.w, control: http.NewResponseController(out.w), sse: strings.Contains(accept, sse), out: out, now: s.o.Now, patience: s.o.Patience}
		return w.end(read(ctx, w.emit))
	})
}

// tailAsEvents is the live view as server-sent events, for pages.
func (s *server) tailAsEvents(req TailRequest, lastID string) (*huma.StreamResponse, error) {
	from, err := streamFrom(lastID, "", "", req.Since)
	if err != nil {
		return nil, err
	}
	if from.Next != nil {
		req.From = from.Next
	}
	return streamed(func(ctx context.Context, _ *http.Request, out *lines) error {
		w := &flowWriter{w: out.w, control: http.NewResponseController(out.w), sse: true, out: out, now: s.o.Now, patience: s.o.Patience}
		return w.end(s.o.Hub.Tail(ctx, req, w.start, func(e TailedEvent) error {
			b, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("encoding event %s: %w", e.Offset, err)
			}
			w.count++
			return w.send(fmt.Sprintf("id: %s\ndata: %s\n\n", e.Offset, b))
		}))
	}), nil
}

// flowWriter writes the items of one stream. Until the hub has opened it an error is an
// answer with a status of its own, after which a browser does not come back.
//
//	SSE                          NDJSON
//	id: 0:42                     {"event":{"offset":"0:42",…}}
//	data: {"offset":"0:42",…}
//
//	id: 0:99                     {"at":"0:99"}
//	event: at
//	data: 0:99
type flowWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	out     *lines
	sse     bool
	now     func() time.Time
	// patience bounds one write.
	patience time.Duration
	started  bool
	told     time.Time
	count    int64
	buf      bytes.Buffer
}

func (f *flowWriter) start() error {
	if f.started {
		return nil
	}
	f.started, f.told = true, f.now()
	if !f.sse {
		return f.out.start()
	}
	f.w.Header().Set("Content-Type", sse)
	f.w.WriteHeader(http.StatusOK)
	return f.send("retry: 2000\n\n")
}

func (f *flowWriter) emit(item StreamItem) error {
	if err := f.start(); err != nil {
		return err
	}
	last := tidegate.Offset{Partition: item.Next.Partition, Position: item.Next.Position - 1}.String()
	f.buf.Reset()
	switch {
	case item.Event != nil:
		f.count++
		b, err := json.Marshal(item.Event)
		if err != nil {
			return fmt.Errorf("encoding event %s: %w", item.Event.Offset, err)
		}
		if f.sse {
			fmt.Fprintf(&f.buf, "id: %s\ndata: %s\n\n", item.Event.Offset, b)
		} else {
			fmt.Fprintf(&f.buf, "{\"event\":%s}\n", b)
		}
	case item.Next.Position == 0 || f.now().Sub(f.told) < stillAlive:
		return nil
	case f.sse:
		fmt.Fprintf(&f.buf, "id: %s\nevent: at\ndata: %s\n\n", last, last)
	default:
		fmt.Fprintf(&f.buf, "{\"at\":%q}\n", last)
	}
	f.told = f.now()
	return f.send(f.buf.String())
}

// send gives the reader as long as it may take to take text.
func (f *flowWriter) send(text string) error {
	late := time.AfterFunc(f.patience, func() { _ = f.control.SetWriteDeadline(time.Unix(1, 0)) }) // long ago: the write at hand fails
	defer late.Stop()
	if _, err := f.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("writing to a stream's reader: %w", err)
	}
	return f.control.Flush()
}

// end says why a stream ends.
func (f *flowWriter) end(err error) error {
	if errors.Is(err, context.Canceled) || err != nil && !f.started {
		return err
	}
	if !f.sse {
		if err != nil {
			return err
		}
		return f.out.put(Line{End: &End{Count: f.count}})
	}
	what, v := "end", any(End{Count: f.count})
	if err != nil {
		what, v = "error", problemOf(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a stream's end: %w", err)
	}
	return f.send(fmt.Sprintf("event: %s\ndata: %s\n\n", what, b))
}

// Stream reads a stream as NDJSON until ctx ends or, without follow, the journal's end.
func (c *Client) Stream(ctx context.Context, name string, from StreamFrom, use func(StreamEvent) error) error {
	query := url.Values{"follow": {fmt.Sprint(from.Follow)}}
	if from.Next != nil {
		query.Set("from", from.Next.String())
	}
	setTime(query, "since", from.Since)
	resp, err := c.send(ctx, http.MethodGet, "/v1/streams/"+url.PathEscape(name), query, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	err = flowing(resp.Body, use)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// flowing calls use for every event until the stream's end.
func flowing(body io.Reader, use func(StreamEvent) error) error {
	scan := bufio.NewScanner(body)
	scan.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	for scan.Scan() {
		var l flowLine
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return fmt.Errorf("reading the server's answer: %w", err)
		}
		switch {
		case l.End != nil:
			return nil
		case l.Error != nil:
			return l.Error
		case l.Event != nil:
			if err := use(*l.Event); err != nil {
				return err
			}
		}
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return errCutOff
}

type flowLine struct {
	Event *StreamEvent `json:"event"`
	At    string       `json:"at"`
	End   *End         `json:"end"`
	Error *Problem     `json:"error"`
}
