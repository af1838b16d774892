package demo

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// The size of the shop.
const (
	customers     = 240
	ordersBefore  = 600
	viewsBefore   = 900
	planChanges   = 11 // customers who change their plan in the second wave
	newOrders     = 9  // other customers who order again
	viewsAfter    = 150
	nodeBatchSize = 20
)

// request is one HTTP request of an SDK. Bodies have the shape of the official
// SDKs' own requests (ingest/testdata/captures).
type request struct {
	path        string
	writeKey    string
	contentType string
	gzip        bool
	body        []byte
	events      int
}

// shop makes the events of an invented shop. Equal seeds and start times make
// equal bytes: a demo that was killed and started again sends the same events
// under the same messageIds, and the hub drops the repeats.
type shop struct {
	rng   *rand.Rand
	start time.Time
	clock time.Time
}

func newShop(start time.Time) *shop {
	return &shop{rng: rand.New(rand.NewPCG(2026, 11)), start: start, clock: start.Add(-time.Hour)}
}

var (
	firstNames = []string{"Ada", "Ben", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Hiro", "Ines", "Jonas", "Kofi", "Léa", "Mateo", "Nadia", "Oskar", "Priya"}
	lastNames  = []string{"Abbott", "Bianchi", "Costa", "Dubois", "Eriksson", "Fischer", "García", "Hansen", "Ito", "Jansen", "Kowalski", "Larsen", "Meyer", "Novak", "O’Neill"}
	products   = []string{"Kettle", "Desk lamp", "Wool blanket", "Chef's knife", "Espresso cups", "Bookshelf", "Floor mat"}
	plans      = []string{"free", "starter", "business"}
)

func userID(i int) string { return fmt.Sprintf("cus_%04d", i) }

func (s *shop) tick() time.Time {
	s.clock = s.clock.Add(time.Duration(s.rng.IntN(900)+50) * time.Millisecond)
	return s.clock
}

func (s *shop) uuid() string {
	a, b := s.rng.Uint64(), s.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

// firstWave is the shop's history: everyone signs up, looks around and orders.
func (s *shop) firstWave() []request {
	var out []request
	for i := range customers {
		out = append(out, s.identify(i, plans[i%len(plans)]))
	}
	for range viewsBefore {
		out = append(out, s.page(s.rng.IntN(customers)))
	}
	orders := make([]map[string]any, ordersBefore)
	for i := range orders {
		orders[i] = s.order(s.rng.IntN(customers))
	}
	return append(out, s.orderBatches(orders)...)
}

// secondWave is a quiet hour: some customers change, most only look around. It
// returns how many distinct customers changed.
func (s *shop) secondWave() (list []request, changed int) {
	perm := s.rng.Perm(customers)
	for _, i := range perm[:planChanges] {
		list = append(list, s.identify(i, "enterprise"))
	}
	orders := make([]map[string]any, newOrders)
	for n, i := range perm[planChanges : planChanges+newOrders] {
		orders[n] = s.order(i)
	}
	list = append(list, s.orderBatches(orders)...)
	for range viewsAfter {
		list = append(list, s.page(s.rng.IntN(customers)))
	}
	return list, planChanges + newOrders
}

// browser is the part that every analytics.js call of a customer shares.
func (s *shop) browser(i int, typ string, at time.Time) map[string]any {
	path := "/products/" + products[i%len(products)]
	page := map[string]any{"path": path, "referrer": "", "search": "", "title": "Shop", "url": "https://shop.example" + path}
	return map[string]any{
		"timestamp": at.Format(stamp), "sentAt": at.Add(40 * time.Millisecond).Format(stamp),
		"type": typ, "userId": userID(i), "anonymousId": fmt.Sprintf("6df7636d-d2d9-4f10-9572-%012x", i),
		"integrations": map[string]any{"Segment.io": true}, "writeKey": "SHOP_WEB",
		"messageId": fmt.Sprintf("ajs-next-%d-%s", at.UnixMilli(), s.uuid()),
		"context": map[string]any{
			"page": page, "locale": "en-US", "timezone": "Europe/Berlin",
			"userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
			"library":   map[string]any{"name": "analytics.js", "version": "npm:next-1.84.3"},
		},
		"_metadata": map[string]any{"bundled": []string{"Segment.io"}, "unbundled": []string{}, "bundledIds": []string{}},
	}
}

const stamp = "2006-01-02T15:04:05.000Z"

func (s *shop) identify(i int, plan string) request {
	event := s.browser(i, "identify", s.tick())
	first, last := firstNames[i%len(firstNames)], lastNames[i/len(firstNames)%len(lastNames)]
	event["traits"] = map[string]any{
		"email": fmt.Sprintf("customer%04d@shop.example", i), "firstName": first, "lastName": last, "plan": plan,
	}
	return single("/v1/i", event)
}

func (s *shop) page(i int) request {
	event := s.browser(i, "page", s.tick())
	event["name"], event["category"] = "Product", "shop"
	event["properties"] = event["context"].(map[string]any)["page"]
	return single("/v1/p", event)
}

func (s *shop) order(i int) map[string]any {
	at := s.tick()
	quantity := s.rng.IntN(4) + 1
	cents := s.rng.IntN(9000) + 990
	return map[string]any{
		"type": "track", "event": "Order Completed", "userId": userID(i), "channel": "server",
		"messageId": s.uuid(), "originalTimestamp": at.Format(stamp), "sentAt": at.Format(stamp),
		"context":   map[string]any{"library": map[string]any{"name": "analytics-node", "version": "3.0.13"}},
		"_metadata": map[string]any{"nodeVersion": "20.20.2"},
		"properties": map[string]any{
			"orderId": "ord_" + s.uuid()[:8], "product": products[s.rng.IntN(len(products))], "quantity": quantity,
			"total": float64(cents*quantity) / 100, "currency": "EUR",
			// The business time of an order does not depend on when the demo runs.
			"orderedAt": time.Date(2026, 11, 1+s.rng.IntN(20), s.rng.IntN(24), s.rng.IntN(60), 0, 0, time.UTC).Format(stamp),
		},
	}
}

// orderBatches packs orders as the server-side SDKs do, gzip included.
func (s *shop) orderBatches(orders []map[string]any) []request {
	var out []request
	for len(orders) > 0 {
		n := min(nodeBatchSize, len(orders))
		at := s.tick().Format(stamp)
		body := encode(map[string]any{"batch": orders[:n], "timestamp": at, "sentAt": at})
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, _ = w.Write(body) // a bytes.Buffer does not fail
		_ = w.Close()
		out = append(out, request{
			path: "/v1/batch", writeKey: "SHOP_ORDERS", contentType: "application/x-www-form-urlencoded", gzip: true, body: zipped.Bytes(), events: n,
		})
		orders = orders[n:]
	}
	return out
}

func single(path string, event map[string]any) request {
	return request{path: path, writeKey: "SHOP_WEB", contentType: "text/plain", body: encode(event), events: 1}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("encoding a demo event: " + err.Error()) // maps of strings and numbers always encode
	}
	return b
}
