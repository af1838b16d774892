package bigquery_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/warehouse"
	"github.com/tidegate/tidegate/warehouse/bigquery"
	"github.com/tidegate/tidegate/warehouse/warehousetest"
)

// latch is a dataset that must be there in the project before its others are dropped.
const latch = "tidegate_may_drop_everything"

// TestCloud holds the adapter to the suite on a project of Google's. The project
// belongs to the test alone: every check drops all of its datasets first.
func TestCloud(t *testing.T) {
	project, key := os.Getenv("TIDEGATE_BIGQUERY_PROJECT"), os.Getenv("TIDEGATE_BIGQUERY_KEY")
	if project == "" {
		t.Skip("TIDEGATE_BIGQUERY_PROJECT and TIDEGATE_BIGQUERY_KEY (the path of a service account's key) are not set; see docs/warehouses/bigquery.md")
	}
	if key == "" {
		t.Fatal("TIDEGATE_BIGQUERY_KEY is not set: the path of a service account's key; see docs/warehouses/bigquery.md")
	}
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	api, err := bq.NewClient(t.Context(), project, option.WithAuthCredentialsFile(option.ServiceAccount, key))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if _, err := api.Dataset(latch).Metadata(t.Context()); err != nil {
		t.Fatalf("the project %s has no dataset %s, so nothing of it is dropped: %v", project, latch, err)
	}
	var turn sync.Mutex // one check at a time has the project
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		datasets := api.Datasets(tb.Context())
		datasets.ListHidden = true
		for {
			d, err := datasets.Next()
			if errors.Is(err, iterator.Done) {
				break
			}
			if err == nil && d.DatasetID != latch {
				err = d.DeleteWithContents(tb.Context())
			}
			if err != nil {
				tb.Fatal(err)
			}
		}
		return open(tb, bigquery.Config{Project: project, Location: os.Getenv("TIDEGATE_BIGQUERY_LOCATION"), Credentials: secret.New(string(text))})
	}))
}
