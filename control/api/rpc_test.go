package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	streamsv1 "github.com/tidegate/tidegate/control/api/streamsv1"
	"github.com/tidegate/tidegate/control/api/streamsv1/streamsv1connect"
	"github.com/tidegate/tidegate/control/auth"
)

// rpcServer serves as cmd does: HTTP/1.1 and HTTP/2 on one address.
func rpcServer(t *testing.T, o api.Options) string {
	t.Helper()
	handler, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.Listener = narrow{srv.Listener}
	srv.Config = api.Server(handler, slog.New(slog.DiscardHandler))
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// protocols are the ways to call, each with the HTTP that it needs.
func protocols(t *testing.T) map[string]func(url string) streamsv1connect.StreamServiceClient {
	t.Helper()
	web := func(two bool) *http.Client {
		var speaks http.Protocols
		speaks.SetHTTP1(!two)
		speaks.SetUnencryptedHTTP2(two)
		transport := &http.Transport{Protocols: &speaks, DialContext: dialNarrow, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	one, two := web(false), web(true)
	client := func(by *http.Client, options ...connect.ClientOption) func(string) streamsv1connect.StreamServiceClient {
		return func(url string) streamsv1connect.StreamServiceClient {
			return streamsv1connect.NewStreamServiceClient(by, url, options...)
		}
	}
	return map[string]func(string) streamsv1connect.StreamServiceClient{
		"connect": client(one), "connect over HTTP/2": client(two), "connect with JSON": client(one, connect.WithProtoJSON()),
		"grpc": client(two, connect.WithGRPC()), "grpc-web": client(one, connect.WithGRPCWeb()),
	}
}

func readAs(token string, msg *streamsv1.ReadRequest) *connect.Request[streamsv1.ReadRequest] {
	req := connect.NewRequest(msg)
	if token != "" {
		req.Header().Set("Authorization", "Bearer "+token)
	}
	return req
}

// collect reads a stream to its end.
func collect(ctx context.Context, c streamsv1connect.StreamServiceClient, req *connect.Request[streamsv1.ReadRequest]) (ids []string, last string, err error) {
	in, err := c.Read(ctx, req)
	if err != nil {
		return nil, "", err
	}
	for in.Receive() {
		last = in.Msg().GetOffset()
		if e := in.Msg().GetEvent(); e != nil {
			ids = append(ids, e.GetMessageId())
		}
	}
	return ids, last, errors.Join(in.Err(), in.Close())
}

func TestStreamsOverConnectAndGRPC(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill()
	only, err := r.keeper.Issue(t.Context(), "test", "reader", auth.Role("stream:orders"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	viewer, err := r.keeper.Issue(t.Context(), "test", "viewer", auth.RoleViewer, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	url := rpcServer(t, r.options())
	start := func(name string) *streamsv1.ReadRequest {
		return &streamsv1.ReadRequest{Stream: name, Start: &streamsv1.ReadRequest_From{From: "0:0"}, Once: true}
	}
	for name, clientAt := range protocols(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clientAt(url)
			ids, last, err := collect(t.Context(), c, readAs(only, start("orders")))
			if diff := cmp.Diff([]string{"m0", "m1", "m2"}, ids); err != nil || last != "0:2" || diff != "" {
				t.Errorf("up to %q, %v (-want +got):\n%s", last, err, diff)
			}
			ids, _, err = collect(t.Context(), c, readAs(only, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_After{After: "0:1"}, Once: true}))
			if !slices.Equal(ids, []string{"m2"}) || err != nil {
				t.Errorf("behind 0:1 came %v, %v", ids, err)
			}
			for what, c2 := range map[string]struct {
				token string
				req   *streamsv1.ReadRequest
				want  connect.Code
			}{
				"no token":         {"", start("orders"), connect.CodeUnauthenticated},
				"an unknown token": {"tgt_nonsense", start("orders"), connect.CodeUnauthenticated},
				"a viewer's token": {viewer, start("orders"), connect.CodePermissionDenied},
				"another stream":   {only, start("other"), connect.CodePermissionDenied},
				"no such stream":   {r.token, start("none"), connect.CodeNotFound},
				"no offset":        {only, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_From{From: "x"}}, connect.CodeInvalidArgument},
				"no time":          {only, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_Since{Since: &timestamppb.Timestamp{Nanos: -1}}}, connect.CodeInvalidArgument},
			} {
				if what == "no time" && name == "connect with JSON" { // cannot be said in it
					continue
				}
				_, _, err := collect(t.Context(), c, readAs(c2.token, c2.req))
				var e *connect.Error
				if !errors.As(err, &e) || e.Code() != c2.want || e.Meta().Get("Tidegate-Code") == "" {
					t.Errorf("%s: %v, want %s with its stable code", what, err, c2.want)
				}
			}
			// One that follows gets what there is at once, and ends with its reader.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			follow := start("orders")
			follow.Once = false
			in, err := c.Read(ctx, readAs(only, follow))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if !in.Receive() {
					t.Fatalf("following: %v", in.Err())
				}
			}
			cancel()
			if in.Receive() || connect.CodeOf(in.Err()) != connect.CodeCanceled {
				t.Errorf("its end: %v", in.Err())
			}
			_ = in.Close()
		})
	}
}

// TestASlowReaderOverGRPCIsDisconnected: over HTTP/2 as over HTTP/1.1.
func TestASlowReaderOverGRPCIsDisconnected(t *testing.T) {
	t.Parallel()
	for name, clientAt := range protocols(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			hub := &endless{r.hub, make(chan error, 1)}
			o := r.options()
			o.Hub, o.Patience = hub, 50*time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			in, err := clientAt(rpcServer(t, o)).Read(ctx, readAs(r.token, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_From{From: "0:0"}}))
			if err := <-hub.ended; err == nil { // nobody receives: the buffers fill
				t.Error("the reading ended without an error")
			}
			next := int64(0)
			if err == nil { // else it was cut off before anything came
				next = received(t, in)
			}
			o.Patience = 0
			in, err = clientAt(rpcServer(t, o)).Read(ctx, readAs(r.token, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_From{From: fmt.Sprintf("0:%d", next)}}))
			if err != nil || !in.Receive() || in.Msg().GetEvent().GetMessageId() != fmt.Sprint(next) {
				t.Errorf("going on at %d: %v", next, err)
			}
			cancel()
			_ = in.Close()
			<-hub.ended
		})
	}
}

// received counts what came of a stream that was cut off: all events from 0:0 on.
func received(t *testing.T, in *connect.ServerStreamForClient[streamsv1.ReadResponse]) (next int64) {
	t.Helper()
	for in.Receive() {
		if want := (tidegate.Offset{Position: next}).String(); in.Msg().GetOffset() != want {
			t.Fatalf("offset %s came, want %s", in.Msg().GetOffset(), want)
		}
		next++
	}
	if in.Err() == nil {
		t.Error("a stream that was cut off looks whole")
	}
	_ = in.Close()
	return next
}
