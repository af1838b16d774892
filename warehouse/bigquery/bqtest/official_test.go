package bqtest_test

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/tidegate/tidegate/warehouse/bigquery/bqtest"
)

// TestOfficialClient: the double answers Google's own client as it expects, which
// nobody of this project wrote.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	s := bqtest.New(t)
	ctx := t.Context()
	c, err := bigquery.NewClient(ctx, bqtest.Project, option.WithEndpoint(s.URL+"/bigquery/v2/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Dataset("d").Create(ctx, &bigquery.DatasetMetadata{Location: "US"}); err != nil {
		t.Fatal(err)
	}
	run := func(sql string, params ...bigquery.QueryParameter) *bigquery.JobStatus {
		t.Helper()
		q := c.Query(sql)
		q.Parameters = params
		job, err := q.Run(ctx)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		status, err := job.Wait(ctx)
		if err == nil {
			err = status.Err()
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return status
	}
	run("CREATE TABLE d.t (`id` INT64, `name` STRING, `seen` TIMESTAMP, `price` NUMERIC, `doc` JSON) PARTITION BY TIMESTAMP_TRUNC(`seen`, DAY) CLUSTER BY `id`")
	at := time.Date(2026, 11, 21, 10, 0, 0, 123_456_000, time.UTC)
	load := c.Dataset("d").Table("t").LoaderFrom(func() *bigquery.ReaderSource {
		src := bigquery.NewReaderSource(strings.NewReader(`{"id":1,"name":"a","seen":"2026-11-21 10:00:00.123456+00","price":"12.5"}` + "\n"))
		src.SourceFormat = bigquery.JSON
		return src
	}())
	load.JobID, load.WriteDisposition = "load-1", bigquery.WriteAppend
	job, err := load.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := job.Wait(ctx); err != nil || status.Err() != nil {
		t.Fatal(err, status.Err())
	}
	if _, err := load.Run(ctx); !isConflict(err) {
		t.Errorf("the job id was taken twice: %v", err)
	}
	status := run("UPDATE d.t SET name = @name, doc = PARSE_JSON('{\"b\": 1, \"a\": 2.50}') WHERE id = @id", bigquery.QueryParameter{Name: "name", Value: "b"}, bigquery.QueryParameter{Name: "id", Value: 1})
	if n := status.Statistics.Details.(*bigquery.QueryStatistics).NumDMLAffectedRows; n != 1 {
		t.Errorf("%d rows were changed", n)
	}
	rows, err := c.Query("SELECT id, name, seen, price, doc FROM d.t").Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var row []bigquery.Value
	if err := rows.Next(&row); err != nil {
		t.Fatal(err)
	}
	rationals := cmp.Comparer(func(x, y *big.Rat) bool { return x.Cmp(y) == 0 })
	if d := cmp.Diff([]bigquery.Value{int64(1), "b", at, big.NewRat(25, 2), `{"a":2.5,"b":1}`}, row, rationals); d != "" {
		t.Error(d)
	}
	if err := rows.Next(&row); !errors.Is(err, iterator.Done) {
		t.Errorf("got %v", err)
	}
	meta, err := c.Dataset("d").Table("t").Metadata(ctx)
	if err != nil || meta.TimePartitioning.Field != "seen" || meta.Clustering.Fields[0] != "id" || len(meta.Schema) != 5 {
		t.Errorf("got %+v, %v", meta, err)
	}
	if _, err := c.Dataset("d").Table("none").Metadata(ctx); err == nil {
		t.Error("a table is there that is not")
	}
	wrong, err := c.Query("SELECT nope FROM d.t").Run(ctx)
	if err == nil {
		var status *bigquery.JobStatus
		if status, err = wrong.Wait(ctx); err == nil {
			err = status.Err()
		}
	}
	if err == nil || !strings.Contains(err.Error(), "Unrecognized name: nope") {
		t.Errorf("got %v", err)
	}
}

func isConflict(err error) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer) && answer.Code == 409
}
