package hubspot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/destinations/destinationtest"
	"github.com/tidegate/tidegate/destinations/hubspot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const poison = "poisoned"

func TestConformance(t *testing.T) {
	t.Parallel()
	values := map[tidegate.Kind]string{
		tidegate.Bool: "t_bool", tidegate.Int: "t_int", tidegate.Float: "t_float", tidegate.Decimal: "t_decimal", tidegate.String: "t_string",
		tidegate.Date: "t_date", tidegate.Timestamp: "t_timestamp", tidegate.JSON: "t_json",
	}
	poisoned := func(r tidegate.Record) tidegate.Record {
		out := tidegate.Record{"t_string": poison}
		for k, v := range r {
			out[k] = v
		}
		return out
	}
	sample := func(object, identifier, form string) destinationtest.Sample {
		return destinationtest.Sample{
			Object: object, Identifier: identifier, Poison: poisoned, Values: values, Stored: stored,
			Record: func(i int) tidegate.Record {
				return tidegate.Record{identifier: fmt.Sprintf(form, i), "city": fmt.Sprintf("City %d", i)}
			},
		}
	}
	destinationtest.Run(t, destinationtest.Suite{
		Kind: hubspot.Kind(),
		Simulator: func() (destinations.Simulator, error) {
			return hubspot.NewSimulator(json.RawMessage(`{"token":"` + destinationtest.Canary + `","poison":"` + poison + `","calls_per_ten_seconds":100000}`))
		},
		Config: func(baseURL string) json.RawMessage {
			return json.RawMessage(`{"token":"` + destinationtest.Canary + `","base_url":"` + baseURL + `"}`)
		},
		Prepare: func(ctx context.Context, d destinations.Destination) error {
			for _, object := range []string{"contacts", "companies"} {
				for kind, name := range values {
					if err := d.(destinations.Provisioner).CreateField(ctx, object, destinations.Field{Name: name, Type: tidegate.Type{Kind: kind}}); err != nil {
						return err
					}
				}
			}
			return d.(destinations.Provisioner).CreateField(ctx, "companies", destinations.Field{Name: "external_id", Identifier: true, Type: tidegate.Type{Kind: tidegate.String}})
		},
		Samples: []destinationtest.Sample{
			sample("contacts", "email", "User%d@Example.com"),
			sample("companies", "external_id", "co-%d"),
		},
	})
}

// stored is what the API holds: text, trimmed, nothing for an empty value,
// e-mail addresses in lower case.
func stored(field string, value any) any {
	var text string
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		text = strings.TrimSpace(v)
		if field == "email" {
			text = strings.ToLower(text)
		}
	case bool:
		text = strconv.FormatBool(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = fmt.Sprint(v[i])
		}
		text = strings.Join(parts, ";")
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		text = string(raw)
	}
	if text == "" {
		return nil
	}
	return text
}
