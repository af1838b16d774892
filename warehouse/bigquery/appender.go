package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/retry"
)

// unanswered is how many requests are under way at most, and so kept in memory.
const unanswered = 4

// appendAll appends the rows of enc, first included, and returns how many there are.
func (s *storage) appendAll(ctx context.Context, w *Warehouse, name string, enc *encoder, first *batch) (int64, error) {
	a := &appender{storage: s, w: w, name: name, enc: enc}
	defer a.disconnect()
	next, err := first, error(nil)
	for ; err == nil; next, err = enc.batch(ctx) {
		a.add(next)
		if err := a.push(ctx, unanswered-1); err != nil {
			return 0, err
		}
	}
	if !errors.Is(err, io.EOF) {
		return 0, err
	}
	return a.rows, a.push(ctx, 0)
}

// appender sends requests, each at its offset in the stream, and keeps them until they are
// answered. When the connection is lost those that are not are sent again on another one: what
// the server has at an offset it does not take again (Invariant 3).
//
//	add ──▶ waiting ──sent──▶ under way ──answered: there, or there already──▶ forgotten
//	           ▲                  │
//	           └──cut, refused────┘  at most so many times in a row
type appender struct {
	*storage
	w    *Warehouse
	name string
	enc  *encoder

	rows     int64    // of all requests
	waiting  []parcel // oldest first
	sent     int      // how many of them are under way
	failures int      // since the last answer

	stream storagepb.BigQueryWrite_AppendRowsClient // nil: not connected
	cancel context.CancelCauseFunc
	known  bool // the server knows what is sent on this connection
}

// parcel is rows at their place in the stream.
type parcel struct {
	offset int64
	rows   *batch
}

func (a *appender) add(b *batch) {
	a.waiting = append(a.waiting, parcel{a.rows, b})
	a.rows += int64(len(b.ends))
}

// push sends what is waiting and takes answers until only so many are left to come.
func (a *appender) push(ctx context.Context, left int) error {
	backoff := retry.Backoff{Base: 200 * time.Millisecond, Cap: 5 * time.Second}
	for a.sent < len(a.waiting) || len(a.waiting) > left {
		err := a.step(ctx)
		if err == nil {
			continue
		}
		a.disconnect()
		err = classify(ctx, err, "")
		f := tidegate.FaultOf(err)
		a.failures++
		if a.failures == attempts || f.Action == tidegate.Reject || f.Action == tidegate.Halt || f.After > maxThrottle {
			return err
		}
		if retry.Wait(ctx, f.After+backoff.Delay(a.failures-1, rand.Float64)) != nil {
			return err
		}
	}
	return nil
}

// step does one thing: connects, sends a request, or takes an answer.
func (a *appender) step(ctx context.Context) error {
	if a.stream == nil {
		return a.connect(ctx)
	}
	timer := time.AfterFunc(storageTimeout, func() { a.cancel(errSlow) })
	defer timer.Stop()
	if a.sent < len(a.waiting) {
		err := a.stream.Send(a.request(a.waiting[a.sent]))
		a.sent++
		if !errors.Is(err, io.EOF) {
			return storageFault(err)
		}
		// The stream has ended, and its last answer says why.
	}
	answer, err := a.stream.Recv()
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the server has ended the stream")
	}
	if err != nil {
		return storageFault(err)
	}
	return a.answered(answer)
}

var errSlow = errors.New("BigQuery did not answer in time")

func (a *appender) connect(ctx context.Context) (err error) {
	ctx, a.cancel = context.WithCancelCause(ctx)
	ctx, err = a.calling(ctx, "write_stream", a.name)
	if err == nil {
		a.stream, err = a.api.AppendRows(ctx)
	}
	if err != nil {
		a.cancel(nil)
		return storageFault(err)
	}
	return nil
}

// disconnect gives a connection up; what was under way is waiting again.
func (a *appender) disconnect() {
	if a.stream != nil {
		a.cancel(nil)
	}
	a.stream, a.sent, a.known = nil, 0, false
}

// request names the stream and describes the rows only when it is the first of a connection.
func (a *appender) request(r parcel) *storagepb.AppendRowsRequest {
	data := &storagepb.AppendRowsRequest_ProtoData{Rows: &storagepb.ProtoRows{SerializedRows: r.rows.serialized()}}
	req := &storagepb.AppendRowsRequest{Offset: wrapperspb.Int64(r.offset), Rows: &storagepb.AppendRowsRequest_ProtoRows{ProtoRows: data}}
	if !a.known {
		a.known = true
		req.WriteStream, req.TraceId = a.name, "tidegate:load"
		data.WriterSchema = &storagepb.ProtoSchema{ProtoDescriptor: a.enc.message}
	}
	return req
}

// answered takes the answer to the oldest request: they come in the order of the requests.
func (a *appender) answered(answer *storagepb.AppendRowsResponse) error {
	if a.sent == 0 {
		return lostRows("an answer without a request")
	}
	oldest := a.waiting[0]
	if e := answer.GetRowErrors(); len(e) > 0 {
		n := oldest.offset + e[0].GetIndex() + 1
		return &tidegate.Fault{
			Action: tidegate.Reject, Code: "warehouse.value", Subject: fmt.Sprintf("row %d", n), Message: oneLine(fmt.Sprintf("row %d: %s", n, e[0].GetMessage())),
			Hint: "correct the value, or widen the column with Ensure",
		}
	}
	if e := answer.GetError(); e != nil {
		err := status.ErrorProto(e)
		if status.Code(err) != codes.AlreadyExists { // which the server has taken, and the answer was lost
			return storageFault(err)
		}
	} else if at := answer.GetAppendResult().GetOffset(); at != nil && at.GetValue() != oldest.offset {
		return lostRows(fmt.Sprintf("rows were sent at offset %d and written at %d", oldest.offset, at.GetValue()))
	}
	a.enc.free = append(a.enc.free, oldest.rows)
	a.waiting, a.failures = a.waiting[1:], 0
	a.sent--
	return nil
}
