package loader

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/tracking"
)

// BenchmarkLoadUnderPlan loads the same 400,000 browser events without a tracking plan and
// under one that they fit. The CPU seconds of the two are to be compared: they do not
// depend on what else the machine does.
func BenchmarkLoadUnderPlan(b *testing.B) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	plan, err := tracking.New(tidegate.TrackingPlan{
		Name: "shop", Actions: tidegate.PlanActions{Violation: "block", UnplannedEvent: "block", UnplannedProperty: "block"},
		Events: map[string]tidegate.PlannedEvent{"Product Viewed": {EventRules: tidegate.EventRules{Properties: map[string]json.RawMessage{
			"product_id": raw(`{"type":"string","pattern":"^sku-","required":true}`), "name": raw(`"string!"`), "price": raw(`{"type":"number","minimum":0,"required":true}`),
			"quantity": raw(`"integer!"`), "category": raw(`{"enum":["shoes","hats"]}`), "in_stock": raw(`"boolean"`),
		}}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	const n = 400_000
	tp, end := browserTape(n, 100)
	for _, name := range []string{"bare", "plan"} {
		b.Run(name, func(b *testing.B) {
			var cpu time.Duration
			for b.Loop() {
				b.StopTimer()
				o := options(tp, tempDuck(b))
				o.Now = time.Now
				if name == "plan" {
					o.Judge = tracking.Plans{"web": plan}
				}
				l, err := New(o)
				if err != nil {
					b.Fatal(err)
				}
				before := processTime(b)
				b.StartTimer()
				stop := run(b, l)
				if err := l.Wait(b.Context(), end); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				stop()
				cpu += processTime(b) - before
				if s := l.Stats(); s.Loaded != n {
					b.Fatalf("loaded %d of %d events", s.Loaded, n)
				}
				b.StartTimer()
			}
			b.ReportMetric(cpu.Seconds()/float64(n*b.N)*1e6, "cpu-s/M")
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
