package bigquery_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bq "cloud.google.com/go/bigquery"
	storage "cloud.google.com/go/bigquery/storage/apiv1"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter/adapt"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// google is Google's client of a double.
func google(tb testing.TB, cfg bigquery.Config) *bq.Client {
	tb.Helper()
	c, err := bq.NewClient(tb.Context(), cfg.Project, option.WithEndpoint(cfg.Endpoint+"/bigquery/v2/"), option.WithoutAuthentication())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// BenchmarkAdapter stands beside Google's client, which makes a load job of a file of the
// same rows, and reads them into Go values. The other side is a double in another process,
// whose share of the time is in both.
func BenchmarkAdapter(b *testing.B) {
	var cfg bigquery.Config
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			cfg = elsewhere(tb)
			cfg.Staging = "load_jobs"
			return open(tb, cfg)
		},
		BulkName: "load-job",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			path := filepath.Join(tb.TempDir(), "rows.ndjson")
			warehousetest.WriteNDJSON(tb, path, rows())
			text, err := os.ReadFile(path)
			if err != nil {
				tb.Fatal(err)
			}
			c := google(tb, cfg)
			return func(table warehouse.Table) {
				source := bq.NewReaderSource(bytes.NewReader(text))
				source.SourceFormat = bq.JSON
				loader := c.Dataset(table.Schema).Table(table.Name).LoaderFrom(source)
				job, err := loader.Run(tb.Context())
				if err != nil {
					tb.Fatal(err)
				}
				// Its own Wait would begin with pauses of a second.
				for ; ; time.Sleep(20 * time.Millisecond) {
					status, err := job.Status(tb.Context())
					if err == nil {
						err = status.Err()
					}
					if err != nil {
						tb.Fatal(err)
					}
					if status.Done() {
						return
					}
				}
			}
		},
		ReadName: "google",
		Read: func(tb testing.TB, _ warehouse.Warehouse, table warehouse.Table, _ int) func() int {
			tb.Helper()
			c := google(tb, cfg)
			return func() int {
				job, err := c.Query("SELECT * FROM bench." + table.Name).Run(tb.Context())
				if err != nil {
					tb.Fatal(err)
				}
				rows, err := job.Read(tb.Context())
				if err != nil {
					tb.Fatal(err)
				}
				for n := 0; ; n++ {
					var row []bq.Value
					if err := rows.Next(&row); errors.Is(err, iterator.Done) {
						return n
					} else if err != nil {
						tb.Fatal(err)
					}
				}
			}
		},
	})
}

// BenchmarkAdapterStreams stands beside Google's client, which appends the same rows, encoded before,
// to a pending stream of the table itself and commits it.
func BenchmarkAdapterStreams(b *testing.B) {
	var cfg bigquery.Config
	warehousetest.Measure(b, warehousetest.Measured{
		Open: func(tb testing.TB) warehouse.Warehouse {
			tb.Helper()
			cfg = elsewhere(tb)
			cfg.Staging = "storage_write"
			return open(tb, cfg)
		},
		BulkName: "AppendRows",
		Bulk: func(tb testing.TB, _ warehouse.Warehouse, rows func() tidegate.RowReader) func(table warehouse.Table) {
			tb.Helper()
			message := messageOf(tb, rows().Schema())
			encoded := encode(tb, message, rows())
			described, err := adapt.NormalizeDescriptor(message)
			if err != nil {
				tb.Fatal(err)
			}
			c, err := storage.NewBigQueryWriteClient(tb.Context(), option.WithEndpoint(strings.TrimPrefix(cfg.StorageEndpoint, "http://")), option.WithoutAuthentication(),
				option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { _ = c.Close() })
			return func(table warehouse.Table) {
				parent := "projects/" + cfg.Project + "/datasets/" + table.Schema + "/tables/" + table.Name
				if err := appendPlainly(tb.Context(), c, parent, described, encoded); err != nil {
					tb.Fatal(err)
				}
			}
		},
	})
}

// appendPlainly sends parts as fast as they are taken, and commits them.
func appendPlainly(ctx context.Context, c *storage.BigQueryWriteClient, parent string, described *descriptorpb.DescriptorProto, parts [][][]byte) error {
	made, err := c.CreateWriteStream(ctx, &storagepb.CreateWriteStreamRequest{Parent: parent, WriteStream: &storagepb.WriteStream{Type: storagepb.WriteStream_PENDING}})
	if err != nil {
		return err
	}
	stream, err := c.AppendRows(metadata.AppendToOutgoingContext(ctx, "x-goog-request-params", "write_stream="+url.QueryEscape(made.GetName())))
	if err != nil {
		return err
	}
	var sending errgroup.Group
	sending.Go(func() error {
		offset := int64(0)
		for _, part := range parts {
			data := &storagepb.AppendRowsRequest_ProtoData{Rows: &storagepb.ProtoRows{SerializedRows: part}}
			if offset == 0 {
				data.WriterSchema = &storagepb.ProtoSchema{ProtoDescriptor: described}
			}
			err := stream.Send(&storagepb.AppendRowsRequest{WriteStream: made.GetName(), Offset: wrapperspb.Int64(offset), Rows: &storagepb.AppendRowsRequest_ProtoRows{ProtoRows: data}})
			if err != nil {
				return err
			}
			offset += int64(len(part))
		}
		return stream.CloseSend()
	})
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && answer.GetError() != nil {
			err = errors.New(answer.GetError().GetMessage())
		}
		if err != nil {
			return err
		}
	}
	if err := sending.Wait(); err != nil {
		return err
	}
	if _, err := c.FinalizeWriteStream(ctx, &storagepb.FinalizeWriteStreamRequest{Name: made.GetName()}); err != nil {
		return err
	}
	answer, err := c.BatchCommitWriteStreams(ctx, &storagepb.BatchCommitWriteStreamsRequest{Parent: parent, WriteStreams: []string{made.GetName()}})
	if err == nil && answer.GetCommitTime() == nil {
		err = errors.New("not committed")
	}
	return err
}

// messageOf is what Google's library makes of the columns.
func messageOf(tb testing.TB, columns tidegate.Schema) protoreflect.MessageDescriptor {
	tb.Helper()
	types := map[tidegate.Kind]bq.FieldType{
		tidegate.Bool: bq.BooleanFieldType, tidegate.Int: bq.IntegerFieldType, tidegate.Float: bq.FloatFieldType, tidegate.String: bq.StringFieldType, tidegate.Timestamp: bq.TimestampFieldType,
	}
	fields := make(bq.Schema, len(columns))
	for i, c := range columns {
		fields[i] = &bq.FieldSchema{Name: c.Name, Type: types[c.Type.Kind]}
	}
	stored, err := adapt.BQSchemaToStorageTableSchema(fields)
	if err != nil {
		tb.Fatal(err)
	}
	described, err := adapt.StorageSchemaToProto2Descriptor(stored, "root")
	if err != nil {
		tb.Fatal(err)
	}
	return described.(protoreflect.MessageDescriptor)
}

// encode makes messages of the rows, in parts of a megabyte.
func encode(tb testing.TB, message protoreflect.MessageDescriptor, rows tidegate.RowReader) (parts [][][]byte) {
	tb.Helper()
	size := 1 << 20
	for {
		row, err := rows.Next(tb.Context())
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			tb.Fatal(err)
		}
		m := dynamicpb.NewMessage(message)
		for i, v := range row {
			if at, ok := v.(time.Time); ok {
				v = at.UnixMicro()
			}
			if v != nil {
				m.Set(message.Fields().Get(i), protoreflect.ValueOf(v))
			}
		}
		line, err := proto.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		if size+len(line) > 1<<20 {
			parts, size = append(parts, nil), 0
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], line)
		size += len(line)
	}
}
