package bigquery_test

import (
	"os"
	"sync"
	"testing"

	bq "google.golang.org/api/bigquery/v2"
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
	if project == "" || key == "" {
		t.Skip("TIDEGATE_BIGQUERY_PROJECT and TIDEGATE_BIGQUERY_KEY (the path of a service account's key) are not set; see docs/warehouses/bigquery.md")
	}
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	api, err := bq.NewService(t.Context(), option.WithAuthCredentialsFile(option.ServiceAccount, key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Datasets.Get(project, latch).Context(t.Context()).Do(); err != nil {
		t.Fatalf("the project %s has no dataset %s, so nothing of it is dropped: %v", project, latch, err)
	}
	var turn sync.Mutex // one check at a time has the project
	warehousetest.Run(t, engine(func(tb testing.TB) warehouse.Warehouse {
		tb.Helper()
		turn.Lock()
		tb.Cleanup(turn.Unlock)
		datasets, err := api.Datasets.List(project).All(true).MaxResults(1000).Context(tb.Context()).Do()
		if err != nil {
			tb.Fatal(err)
		}
		for _, d := range datasets.Datasets {
			if id := d.DatasetReference.DatasetId; id != latch {
				if err := api.Datasets.Delete(project, id).DeleteContents(true).Context(tb.Context()).Do(); err != nil {
					tb.Fatal(err)
				}
			}
		}
		return open(tb, bigquery.Config{Project: project, Location: os.Getenv("TIDEGATE_BIGQUERY_LOCATION"), Credentials: secret.New(string(text))})
	}))
}
