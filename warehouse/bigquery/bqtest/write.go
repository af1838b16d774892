package bqtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// writeService is the Storage Write API of a Server.
type writeService struct {
	storagepb.UnimplementedBigQueryWriteServer
	s    *Server
	grpc *grpc.Server
	net  *cutter

	mu      sync.Mutex
	streams map[string]*writeStream
}

// writeStream is a stream, and its rows until they are in the table.
type writeStream struct {
	mu        sync.Mutex // one append at a time
	told      *storagepb.WriteStream
	table     target
	fields    []*bq.TableFieldSchema
	waiting   *lineLoader
	end       int64 // the offset of the next row
	finalized bool
	committed bool
}

// maxAppend is BigQuery's limit of one request.
const maxAppend = 10 << 20

func (s *Server) serveWrites() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // its life is the server's
	if err != nil {
		return err
	}
	w := &writeService{
		s: s, net: &cutter{Listener: listener, conns: map[net.Conn]bool{}}, streams: map[string]*writeStream{},
		grpc: grpc.NewServer(grpc.MaxRecvMsgSize(2*maxAppend), grpc.WaitForHandlers(true)),
	}
	storagepb.RegisterBigQueryWriteServer(w.grpc, w)
	s.writes, s.WriteURL = w, "http://"+listener.Addr().String()
	s.work.Go(func() { _ = w.grpc.Serve(w.net) }) // which Stop ends
	return nil
}

// cutter is a listener whose connections can be cut.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Accept implements net.Listener.
func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns[conn] = true
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	clear(c.conns)
}

// statusOf are the codes of gRPC for those of HTTP.
var statusOf = map[int]codes.Code{
	http.StatusBadRequest: codes.InvalidArgument, http.StatusUnauthorized: codes.Unauthenticated, http.StatusForbidden: codes.PermissionDenied,
	http.StatusNotFound: codes.NotFound, http.StatusTooManyRequests: codes.ResourceExhausted, http.StatusServiceUnavailable: codes.Unavailable,
	http.StatusNotImplemented: codes.Unimplemented, http.StatusGatewayTimeout: codes.DeadlineExceeded,
}

// storageError is an error with what the API says beside the status.
func storageError(code codes.Code, detail storagepb.StorageError_StorageErrorCode, entity, format string, args ...any) error {
	st := status.Newf(code, format, args...)
	with, err := st.WithDetails(protoadapt.MessageV1Of(&storagepb.StorageError{Code: detail, Entity: entity, ErrorMessage: st.Message()}))
	if err != nil {
		return err
	}
	return with.Err()
}

// around does what a call asks for, unless the interceptor has other plans.
func (w *writeService) around(method, path string, do func() error) error {
	var answer *Answer
	w.s.mu.Lock()
	intercept := w.s.intercept
	w.s.mu.Unlock()
	if intercept != nil {
		answer = intercept(Call{Method: method, Path: path})
	}
	lost := status.Error(codes.Unavailable, "cut")
	switch {
	case answer == nil:
		return do()
	case answer.Cut:
		w.net.cut()
		return lost
	case answer.Lose:
		_ = do() // nobody learns of it
		w.net.cut()
		return lost
	}
	code, ok := statusOf[answer.Status]
	if !ok {
		code = codes.Internal
	}
	return status.Error(code, answer.Message)
}

// admit looks at the token, and at the header by which Google finds the server.
func (w *writeService) admit(ctx context.Context, key, name string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if routing := strings.Join(md.Get("x-goog-request-params"), "&"); !strings.Contains(routing, key+"="+url.QueryEscape(name)) {
		return status.Errorf(codes.InvalidArgument, "the header x-goog-request-params is %q and does not name %s %s", routing, key, name)
	}
	who, known := w.s.who(strings.Join(md.Get("authorization"), ""))
	part := append(strings.Split(name, "/"), "", "", "", "", "", "") // projects/P/datasets/D/tables/T
	switch {
	case !known:
		return status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
	case who.use("bigquery.tables.updateData", target{part[3], part[5]}) != nil:
		return status.Errorf(codes.PermissionDenied, "Permission 'TABLES_UPDATE_DATA' denied on resource '%s' (or it may not exist).", name)
	}
	return nil
}

// CreateWriteStream implements the API.
func (w *writeService) CreateWriteStream(ctx context.Context, req *storagepb.CreateWriteStreamRequest) (made *storagepb.WriteStream, err error) {
	if err := w.admit(ctx, "parent", req.GetParent()); err != nil {
		return nil, err
	}
	err = w.around("CreateWriteStream", req.GetParent(), func() error {
		made, err = w.create(ctx, req.GetParent(), req.GetWriteStream().GetType())
		return err
	})
	return made, err
}

func (w *writeService) create(ctx context.Context, parent string, kind storagepb.WriteStream_Type) (*storagepb.WriteStream, error) {
	if kind != storagepb.WriteStream_PENDING && kind != storagepb.WriteStream_COMMITTED {
		return nil, status.Errorf(codes.InvalidArgument, "the double has no streams of type %s", kind)
	}
	part := strings.Split(parent, "/")
	if len(part) != 6 || part[0] != "projects" || part[1] != Project || part[2] != "datasets" || part[4] != "tables" {
		return nil, status.Errorf(codes.InvalidArgument, "Invalid parent %q", parent)
	}
	fields, err := w.s.fields(ctx, part[3], part[5])
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "Requested entity was not found. Entity: %s", parent)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	told := &storagepb.WriteStream{Name: fmt.Sprintf("%s/streams/s%d", parent, len(w.streams)+1), Type: kind, CreateTime: timestamppb.Now(), Location: "US"}
	w.streams[told.GetName()] = &writeStream{told: told, table: target{part[3], part[5]}, fields: fields, waiting: &lineLoader{fields: fields}}
	return told, nil
}

func (w *writeService) find(name string) (*writeStream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if found := w.streams[name]; found != nil {
		return found, nil
	}
	return nil, storageError(codes.NotFound, storagepb.StorageError_STREAM_NOT_FOUND, name, "Requested entity was not found. Entity: %s", name)
}

// GetWriteStream implements the API.
func (w *writeService) GetWriteStream(ctx context.Context, req *storagepb.GetWriteStreamRequest) (*storagepb.WriteStream, error) {
	if err := w.admit(ctx, "name", req.GetName()); err != nil {
		return nil, err
	}
	found, err := w.find(req.GetName())
	if err != nil {
		return nil, err
	}
	return found.told, nil
}

// AppendRows implements the API.
func (w *writeService) AppendRows(requests storagepb.BigQueryWrite_AppendRowsServer) error {
	var into *writeStream
	var rows *rowReader
	for {
		req, err := requests.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if proto.Size(req) > maxAppend {
			return status.Errorf(codes.InvalidArgument, "AppendRows request too large: %d limit %d", proto.Size(req), maxAppend)
		}
		if name := req.GetWriteStream(); into == nil || name != "" && name != into.told.GetName() {
			if err := w.admit(requests.Context(), "write_stream", name); err != nil {
				return err
			}
			if into, err = w.find(name); err != nil {
				return err
			}
		}
		if schema := req.GetProtoRows().GetWriterSchema(); schema != nil {
			if rows, err = newRowReader(schema.GetProtoDescriptor(), into.fields); err != nil {
				return storageError(codes.InvalidArgument, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS, into.told.GetName(), "%v", err)
			}
		}
		if rows == nil {
			return status.Error(codes.InvalidArgument, "Writer schema is missing in the first request of a connection")
		}
		var answer *storagepb.AppendRowsResponse
		if err := w.around("AppendRows", into.told.GetName(), func() error {
			answer = w.append(requests.Context(), into, rows, req)
			return nil
		}); err != nil {
			return err
		}
		if err := requests.Send(answer); err != nil {
			return err
		}
	}
}

// append takes the rows of a request: all of them or none.
func (w *writeService) append(ctx context.Context, into *writeStream, rows *rowReader, req *storagepb.AppendRowsRequest) *storagepb.AppendRowsResponse {
	into.mu.Lock()
	defer into.mu.Unlock()
	name := into.told.GetName()
	refused := func(err error, bad ...*storagepb.RowError) *storagepb.AppendRowsResponse {
		return &storagepb.AppendRowsResponse{WriteStream: name, RowErrors: bad, Response: &storagepb.AppendRowsResponse_Error{Error: status.Convert(err).Proto()}}
	}
	at := into.end
	if req.GetOffset() != nil {
		at = req.GetOffset().GetValue()
	}
	switch {
	case into.finalized:
		return refused(storageError(codes.InvalidArgument, storagepb.StorageError_STREAM_FINALIZED, name, "Stream has been finalized and cannot be appended: %s", name))
	case at < into.end:
		return refused(storageError(codes.AlreadyExists, storagepb.StorageError_OFFSET_ALREADY_EXISTS, name, "The offset is within stream, expected offset %d, received %d", into.end, at))
	case at > into.end:
		return refused(storageError(codes.OutOfRange, storagepb.StorageError_OFFSET_OUT_OF_RANGE, name, "The offset is beyond stream, expected offset %d, received %d", into.end, at))
	}
	read := &lineLoader{fields: into.fields}
	var bad []*storagepb.RowError
	for i, row := range req.GetProtoRows().GetRows().GetSerializedRows() {
		if err := rows.read(row, read); err != nil {
			bad = append(bad, &storagepb.RowError{Index: int64(i), Code: storagepb.RowError_FIELDS_ERROR, Message: err.Error()})
		}
	}
	if len(bad) > 0 {
		return refused(status.Error(codes.InvalidArgument, "Errors found while processing rows. Please refer to the row_errors field for details."), bad...)
	}
	if into.told.GetType() == storagepb.WriteStream_COMMITTED {
		if _, err := w.s.store(ctx, into.reference(), read); err != nil {
			return refused(status.Error(codes.Internal, err.Error()))
		}
	} else {
		into.waiting.cells = append(into.waiting.cells, read.cells...)
	}
	into.end += int64(len(req.GetProtoRows().GetRows().GetSerializedRows()))
	return &storagepb.AppendRowsResponse{WriteStream: name, Response: &storagepb.AppendRowsResponse_AppendResult_{AppendResult: &storagepb.AppendRowsResponse_AppendResult{Offset: wrapperspb.Int64(at)}}}
}

func (into *writeStream) reference() *bq.TableReference {
	return &bq.TableReference{ProjectId: Project, DatasetId: into.table.dataset, TableId: into.table.table}
}

// FinalizeWriteStream implements the API.
func (w *writeService) FinalizeWriteStream(ctx context.Context, req *storagepb.FinalizeWriteStreamRequest) (answer *storagepb.FinalizeWriteStreamResponse, err error) {
	if err := w.admit(ctx, "name", req.GetName()); err != nil {
		return nil, err
	}
	err = w.around("FinalizeWriteStream", req.GetName(), func() error {
		into, err := w.find(req.GetName())
		if err != nil {
			return err
		}
		into.mu.Lock()
		defer into.mu.Unlock()
		into.finalized = true
		answer = &storagepb.FinalizeWriteStreamResponse{RowCount: into.end}
		return nil
	})
	return answer, err
}

// BatchCommitWriteStreams implements the API, for one stream at a time.
func (w *writeService) BatchCommitWriteStreams(ctx context.Context, req *storagepb.BatchCommitWriteStreamsRequest) (answer *storagepb.BatchCommitWriteStreamsResponse, err error) {
	if err := w.admit(ctx, "parent", req.GetParent()); err != nil {
		return nil, err
	}
	if len(req.GetWriteStreams()) != 1 {
		return nil, status.Error(codes.InvalidArgument, "the double commits one stream at a time")
	}
	err = w.around("BatchCommitWriteStreams", req.GetParent(), func() error {
		answer, err = w.commit(ctx, req.GetWriteStreams()[0])
		return err
	})
	return answer, err
}

func (w *writeService) commit(ctx context.Context, name string) (*storagepb.BatchCommitWriteStreamsResponse, error) {
	no := func(code storagepb.StorageError_StorageErrorCode) (*storagepb.BatchCommitWriteStreamsResponse, error) {
		return &storagepb.BatchCommitWriteStreamsResponse{StreamErrors: []*storagepb.StorageError{{Code: code, Entity: name, ErrorMessage: code.String()}}}, nil
	}
	into, err := w.find(name)
	if err != nil {
		return no(storagepb.StorageError_STREAM_NOT_FOUND)
	}
	into.mu.Lock()
	defer into.mu.Unlock()
	switch {
	case into.told.GetType() != storagepb.WriteStream_PENDING:
		return no(storagepb.StorageError_INVALID_STREAM_TYPE)
	case into.committed:
		return no(storagepb.StorageError_STREAM_ALREADY_COMMITTED)
	case !into.finalized:
		return no(storagepb.StorageError_INVALID_STREAM_STATE)
	}
	// The connection may be gone meanwhile; the commit goes on.
	if _, err := w.s.store(context.WithoutCancel(ctx), into.reference(), into.waiting); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	into.committed, into.waiting = true, nil
	return &storagepb.BatchCommitWriteStreamsResponse{CommitTime: timestamppb.Now()}, nil
}

// Committed is how many rows the streams that were committed had, by table.
func (s *Server) Committed() map[string]int64 {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	all := map[string]int64{}
	for _, name := range slices.Sorted(maps.Keys(s.writes.streams)) {
		if into := s.writes.streams[name]; into.committed {
			all[into.table.key()] += into.end
		}
	}
	return all
}
