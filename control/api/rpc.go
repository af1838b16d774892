package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate"
	streamsv1 "github.com/tidegate/tidegate/control/api/streamsv1"
	"github.com/tidegate/tidegate/control/api/streamsv1/streamsv1connect"
	"github.com/tidegate/tidegate/control/auth"
)

// maxRPCBytes bounds a request of the service of streams, which is a name and an offset.
const maxRPCBytes = 64 << 10

// streamService is GET /v1/streams/{name} over Connect, gRPC and gRPC-Web.
type streamService struct{ s *server }

var _ streamsv1connect.StreamServiceHandler = streamService{}

type controlKey struct{}

// rpc returns the service of streams, and those that tell tools such as grpcurl what it
// takes, by their paths.
func (s *server) rpc() map[string]http.Handler {
	limit := connect.WithReadMaxBytes(maxRPCBytes)
	reflector := grpcreflect.NewStaticReflector(streamsv1connect.StreamServiceName)
	services := map[string]http.Handler{}
	for _, mount := range []func() (string, http.Handler){
		func() (string, http.Handler) {
			return streamsv1connect.NewStreamServiceHandler(streamService{s}, limit)
		},
		func() (string, http.Handler) { return grpcreflect.NewHandlerV1(reflector, limit) },
		func() (string, http.Handler) { return grpcreflect.NewHandlerV1Alpha(reflector, limit) },
	} {
		path, handler := mount()
		services[path] = s.readers(handler, connect.NewErrorWriter(limit))
	}
	return services
}

// readers lets those in who may read streams. Who may not hears so in the words of the
// protocol that he speaks.
func (s *server) readers(next http.Handler, refuse *connect.ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.o.Keeper.Identify(r)
		if err == nil {
			err = auth.Allow(r, id, auth.Stream)
		}
		if err != nil && refuse.IsSupported(r) {
			_ = refuse.Write(w, r, rpcError(err)) // the client may be gone
			return
		}
		if err != nil {
			writeProblem(w, problemOf(err))
			return
		}
		ctx := context.WithValue(r.Context(), identityKey{}, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, controlKey{}, http.NewResponseController(w))))
	})
}

// Read implements streamsv1connect.StreamServiceHandler.
func (v streamService) Read(ctx context.Context, req *connect.Request[streamsv1.ReadRequest], out *connect.ServerStream[streamsv1.ReadResponse]) error {
	name := req.Msg.GetStream()
	if !who(ctx).MayStream(name) {
		return rpcError(newProblem(http.StatusForbidden, "auth.denied", "the token is bound to another stream", "use a token of the role stream:"+name))
	}
	var since time.Time
	if at := req.Msg.GetSince(); at != nil {
		if err := at.CheckValid(); err != nil {
			return rpcError(newProblem(http.StatusBadRequest, "request.invalid", err.Error(), "send a valid time"))
		}
		since = at.AsTime()
	}
	from, err := streamFrom("", req.Msg.GetAfter(), req.Msg.GetFrom(), since)
	if err != nil {
		return rpcError(err)
	}
	from.Follow = !req.Msg.GetOnce()
	control, _ := ctx.Value(controlKey{}).(*http.ResponseController)
	w := &rpcWriter{out: out, control: control, now: v.s.o.Now, told: v.s.o.Now(), patience: v.s.o.Patience}
	return rpcError(v.s.o.Hub.Stream(ctx, name, from, w.emit))
}

// rpcWriter sends the items of one stream; see flowWriter.
type rpcWriter struct {
	out      *connect.ServerStream[streamsv1.ReadResponse]
	control  *http.ResponseController
	now      func() time.Time
	told     time.Time
	patience time.Duration
}

func (w *rpcWriter) emit(item StreamItem) error {
	if item.Next.Position == 0 || item.Event == nil && w.now().Sub(w.told) < stillAlive {
		return nil
	}
	w.told = w.now()
	msg := &streamsv1.ReadResponse{Offset: tidegate.Offset{Partition: item.Next.Partition, Position: item.Next.Position - 1}.String()}
	if e := item.Event; e != nil {
		msg.Offset = e.Offset
		msg.Event = &streamsv1.Event{
			Source: e.Source, Type: e.Type, MessageId: e.MessageID, UserId: e.UserID, AnonymousId: e.AnonymousID,
			ReceivedAt: timestamppb.New(e.ReceivedAt), Event: e.Event, Context: e.Context,
		}
	}
	late := time.AfterFunc(w.patience, func() { _ = w.control.SetWriteDeadline(time.Unix(1, 0)) }) // long ago: the write at hand fails
	defer late.Stop()
	return w.out.Send(msg)
}

// rpcError says an error in Connect's words; the stable code is in its metadata.
func rpcError(err error) error {
	var known *connect.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	p := problemOf(err)
	text := p.Error()
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	out := connect.NewError(rpcCode(p.Status), errors.New(text))
	out.Meta().Set("Tidegate-Code", p.Code)
	return out
}

func rpcCode(status int) connect.Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden:
		return connect.CodePermissionDenied
	case http.StatusNotFound:
		return connect.CodeNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return connect.CodeFailedPrecondition
	case http.StatusTooManyRequests:
		return connect.CodeResourceExhausted
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	}
	return connect.CodeInternal
}
