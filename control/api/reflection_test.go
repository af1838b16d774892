package api_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	rpcstatus "google.golang.org/grpc/status"

	streamsv1 "github.com/tidegate/tidegate/control/api/streamsv1"
	"github.com/tidegate/tidegate/control/api/streamsv1/streamsv1connect"
	"github.com/tidegate/tidegate/control/auth"
)

// TestToolsLearnTheService: grpcurl and its like ask the server what it takes, with the
// token with which they read.
func TestToolsLearnTheService(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token, err := r.keeper.Issue(t.Context(), "test", "reader", auth.Role("stream:orders"), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var speaks http.Protocols
	speaks.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &speaks}
	t.Cleanup(transport.CloseIdleConnections)
	client := grpcreflect.NewClient(&http.Client{Transport: transport}, rpcServer(t, r.options()), connect.WithGRPC())
	as := func(token string) grpcreflect.ClientStreamOption {
		return grpcreflect.WithRequestHeaders(http.Header{"Authorization": {"Bearer " + token}})
	}
	stream := client.NewStream(t.Context(), as(token))
	services, err := stream.ListServices()
	if err != nil || !slices.Contains(services, streamsv1connect.StreamServiceName) {
		t.Errorf("services: %v, %v", services, err)
	}
	files, err := stream.FileContainingSymbol(streamsv1connect.StreamServiceName)
	if err != nil || len(files) == 0 || files[0].GetPackage() != "tidegate.streams.v1" {
		t.Errorf("the definition: %v, %v", files, err)
	}
	if _, err := stream.Close(); err != nil {
		t.Error(err)
	}
	stranger := client.NewStream(t.Context(), as("nobody's"))
	if _, err := stranger.ListServices(); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("without a token: %v", err)
	}
	_, _ = stranger.Close() // it failed
}

// TestStreamsByGrpcGo: the client that Go programs have reads the stream, hears the end
// and is told why it may not.
func TestStreamsByGrpcGo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill()
	conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(rpcServer(t, r.options()), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	read := func(token, name string) (ids []string, err error) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		in, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streamsv1connect.StreamServiceReadProcedure)
		if err != nil {
			return nil, err
		}
		req := &streamsv1.ReadRequest{Stream: name, Start: &streamsv1.ReadRequest_From{From: "0:0"}, Once: true}
		if err := errors.Join(in.SendMsg(req), in.CloseSend()); err != nil {
			return nil, err
		}
		for {
			var msg streamsv1.ReadResponse
			switch err := in.RecvMsg(&msg); {
			case errors.Is(err, io.EOF):
				return ids, nil
			case err != nil:
				return ids, err
			}
			if e := msg.GetEvent(); e != nil {
				ids = append(ids, e.GetMessageId())
			}
		}
	}
	want, _, err := collect(t.Context(), protocols(t)["connect"](rpcServer(t, r.options())), readAs(r.token, &streamsv1.ReadRequest{Stream: "orders", Start: &streamsv1.ReadRequest_From{From: "0:0"}, Once: true}))
	if err != nil || len(want) == 0 {
		t.Fatalf("over Connect: %v, %v", want, err)
	}
	got, err := read(r.token, "orders")
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := read("nobody's", "orders"); rpcstatus.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	if _, err := read(r.token, "nothing"); rpcstatus.Code(err) != codes.NotFound {
		t.Errorf("a stream that there is not: %v", err)
	}
}
