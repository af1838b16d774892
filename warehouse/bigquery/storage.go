package bigquery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

const (
	// storageAddress is where Google has the Storage Write API.
	storageAddress = "https://bigquerystorage.googleapis.com"
	// storageTimeout bounds one call, and the wait for one answer to an append. Google
	// advises more than half a minute for streams that are created.
	storageTimeout = 2 * time.Minute
)

// storage is a client of the Storage Write API: the generated stub on one connection, which
// is opened when it is needed. It asks once; what is asked again is said by Warehouse.try and
// by appender.
type storage struct {
	api    storagepb.BigQueryWriteClient
	tokens oauth2.TokenSource // nil: nobody is authenticated
	parent string             // "projects/p"
}

// connectStorage makes a client of the Storage Write API, or nil where it is not to be used. It sends nothing.
func (w *Warehouse) connectStorage(ctx context.Context, cfg Config) (*storage, error) {
	address := cfg.StorageEndpoint
	switch {
	case w.staging == stagingLoadJobs:
		return nil, nil
	case w.staging != stagingAuto && w.staging != stagingStorageWrite:
		return nil, storageConfig("staging", "it is "+w.staging, "set it to auto, load_jobs or storage_write")
	case address == "" && cfg.Endpoint == "":
		address = storageAddress
	case address == "" && w.staging == stagingAuto:
		return nil, nil
	case address == "":
		return nil, storageConfig("storage_endpoint", "endpoint is set, and that of the Storage Write API is not", "set storage_endpoint, or staging to load_jobs")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, storageConfig("storage_endpoint", "it is no address", "write https://host or https://host:port")
	}
	port := u.Port()
	transport := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	if u.Scheme == "http" {
		transport = insecure.NewCredentials()
	}
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	out := egress.Options{Policy: egress.Policy{AllowPrivate: cfg.StorageEndpoint != ""}}
	conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(u.Hostname(), port),
		grpc.WithTransportCredentials(transport), grpc.WithUserAgent("tidegate"),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return out.Dial(ctx, "tcp", address) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}, MinConnectTimeout: 20 * time.Second}),
		grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("making a client of the Storage Write API: %w", err)
	}
	w.idle = append(w.idle, func() { _ = conn.Close() })
	tokens, err := tokenSource(ctx, w.outgoing(cfg), cfg.Endpoint, "credentials", cfg.Credentials)
	if err != nil {
		return nil, err
	}
	return &storage{api: storagepb.NewBigQueryWriteClient(conn), tokens: tokens, parent: "projects/" + w.project}, nil
}

func storageConfig(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "warehouse.config", Subject: subject, Message: message, Hint: hint}
}

// calling makes the context of a call about what is named: by that Google finds the server.
func (s *storage) calling(ctx context.Context, key, name string) (context.Context, error) {
	pairs := []string{"x-goog-request-params", key + "=" + url.QueryEscape(name)}
	if s.tokens != nil {
		token, err := s.tokens.Token()
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, "authorization", token.Type()+" "+token.AccessToken)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...), nil
}

// call makes a call that can be made again without harm.
func (s *storage) call(ctx context.Context, w *Warehouse, key, name string, do func(ctx context.Context) error) error {
	return w.try(ctx, "", func(ctx context.Context) error {
		ctx, done := context.WithTimeout(ctx, storageTimeout)
		defer done()
		asking, err := s.calling(ctx, key, name)
		if err != nil {
			return err
		}
		return storageFault(do(asking))
	})
}

// write writes all rows of enc into a table, which has nobody else's, and returns how many
// there are. They are there together, after the commit:
//
//	create a PENDING stream ──▶ append at offsets ──▶ finalize: rows counted ──▶ commit ──▶ readable
//	  └─lost: another one         └─cut: see appender    └─lost: again              └─lost: again; a stream that is committed says so
//
// A stream that is not committed goes with its table.
func (s *storage) write(ctx context.Context, w *Warehouse, dataset, table string, enc *encoder, first *batch) (int64, error) {
	parent := s.parent + "/datasets/" + dataset + "/tables/" + table
	name, err := s.create(ctx, w, parent)
	if err != nil {
		return 0, fmt.Errorf("creating a stream: %w", err)
	}
	n, err := s.appendAll(ctx, w, name, enc, first)
	if err != nil {
		return 0, fmt.Errorf("appending rows: %w", err)
	}
	if err := s.finalize(ctx, w, name, n); err != nil {
		return 0, fmt.Errorf("finalizing a stream: %w", err)
	}
	if err := s.commit(ctx, w, parent, name); err != nil {
		return 0, fmt.Errorf("committing a stream: %w", err)
	}
	return n, nil
}

// create makes a stream. A table that was made a moment ago may not be known yet, which
// Google tells as it tells of a missing permission.
func (s *storage) create(ctx context.Context, w *Warehouse, parent string) (name string, err error) {
	var unknown *tidegate.Fault
	err = s.call(ctx, w, "parent", parent, func(ctx context.Context) error {
		made, err := s.api.CreateWriteStream(ctx, &storagepb.CreateWriteStreamRequest{
			Parent: parent, WriteStream: &storagepb.WriteStream{Type: storagepb.WriteStream_PENDING},
		})
		unknown = nil
		if notThere(err) {
			errors.As(storageFault(err), &unknown)
			again := *unknown
			again.Action = tidegate.Retry
			return &again
		}
		name = made.GetName()
		return err
	})
	if err != nil && unknown != nil {
		return "", unknown
	}
	return name, err
}

// finalize ends a stream, and compares the number of its rows with that of those sent.
func (s *storage) finalize(ctx context.Context, w *Warehouse, name string, rows int64) error {
	return s.call(ctx, w, "name", name, func(ctx context.Context) error {
		answer, err := s.api.FinalizeWriteStream(ctx, &storagepb.FinalizeWriteStreamRequest{Name: name})
		if storageCode(err) == storagepb.StorageError_STREAM_FINALIZED {
			return nil // by the call whose answer was lost; the statement counts the rows, too
		}
		if err == nil && answer.GetRowCount() != rows {
			return lostRows(fmt.Sprintf("the stream has %d rows, and %d were sent", answer.GetRowCount(), rows))
		}
		return err
	})
}

// commit makes the rows of a stream readable. The stream is this load's alone, so that one
// that is committed has been by this call.
func (s *storage) commit(ctx context.Context, w *Warehouse, parent, name string) error {
	return s.call(ctx, w, "parent", parent, func(ctx context.Context) error {
		answer, err := s.api.BatchCommitWriteStreams(ctx, &storagepb.BatchCommitWriteStreamsRequest{Parent: parent, WriteStreams: []string{name}})
		if storageCode(err) == storagepb.StorageError_STREAM_ALREADY_COMMITTED {
			return nil
		}
		if err != nil {
			return err
		}
		if answer.GetCommitTime() != nil {
			return nil
		}
		why := ""
		if e := answer.GetStreamErrors(); len(e) > 0 {
			if e[0].GetCode() == storagepb.StorageError_STREAM_ALREADY_COMMITTED {
				return nil
			}
			why = ": " + e[0].GetCode().String() + ": " + e[0].GetErrorMessage()
		}
		return lostRows("the stream was not committed" + why)
	})
}

// lostRows is the fault of a stream that is not what it was made to be. The load can be done
// again, by another stream.
func lostRows(message string) error {
	return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.staging", Message: oneLine(message)}
}
