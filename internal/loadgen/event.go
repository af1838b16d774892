package loadgen

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

const (
	runWidth      = 8
	sequenceWidth = 12
	tailWidth     = 24
	userWidth     = 6
	orderWidth    = 10
	users         = 10_000
)

// What events are made of. A connection is a visitor on one page, as an SDK in a browser
// sends a batch: the context is the same in all of its events; ids, names, times and
// properties differ.
var (
	names      = []string{"Order Completed", "Product Viewed", "Product Added", "Checkout Started"}
	pages      = []string{"Checkout", "Shoes", "Jackets", "Cart", "Account", "Outlet", "Delivery", "Returns"}
	referrers  = []string{"https://www.example.com/", "https://search.example.net/", "https://news.example.org/", "https://mail.example.com/"}
	campaigns  = []string{"news", "mail", "ads", "search"}
	locales    = []string{"en-US", "de-DE", "fr-FR", "es-ES"}
	currencies = []string{"EUR", "USD", "GBP", "SEK"}
	systems    = []string{"X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "Linux; Android 16; K"}
)

// mix returns digits that look like chance, the same for the same numbers.
func mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b*0xd1b54a32d192ed03 + 0x632be59bd9b4e019
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func pick(list []string, n uint64) string { return list[n%uint64(len(list))] }

// contextOf is what a visitor's browser says of itself.
func contextOf(lane int) string {
	h := mix(uint64(lane), 1)
	page := pick(pages, h)
	path, search := "/shop/"+strings.ToLower(page), "?utm_source="+pick(campaigns, h>>8)
	return `{"page":{"path":"` + path + `","referrer":"` + pick(referrers, h>>16) + `","search":"` + search + `","title":"` + page + `","url":"https://shop.example.com` + path + search + `"},` +
		`"userAgent":"Mozilla/5.0 (` + pick(systems, h>>24) + `) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/` + strconv.FormatUint(120+h>>32%37, 10) + `.0.0.0 Safari/537.36","locale":"` + pick(locales, h>>40) + `",` +
		`"library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"` + pick(campaigns, h>>8) + `"},"timezone":"UTC"}`
}

// AppendTrack appends a track as analytics.js sends it, about 780 bytes: the n-th of a
// connection in a run that began at start. The writeKey and what follows stand behind the
// other fields.
func AppendTrack(dst []byte, o *Options, lane int, n int64, start time.Time, rest string) []byte {
	slot := n % int64(o.Batch)
	h, visitor := mix(uint64(lane), uint64(slot)+2), mix(uint64(lane), 0)
	name := names[0]
	if o.Names > 1 {
		name = pick(names[:min(o.Names, len(names))], h>>40)
	}
	at := start.Add(time.Duration(slot)*137*time.Millisecond + time.Duration(h%100)*time.Millisecond)
	dst = at.UTC().AppendFormat(append(dst, `{"timestamp":"`...), "2006-01-02T15:04:05.000Z")
	return fmt.Appendf(dst, `","integrations":{"Segment.io":true},"event":"%s","type":"track",`+
		`"properties":{"revenue":%d.%d,"currency":"%s","order_id":"ord-%0*d","products":%d},"context":%s,`+
		`"messageId":"%s","userId":"u%0*d","anonymousId":"%08x-%04x-4%03x-8%03x-%012x"%s}`,
		name, h%400, 1+h>>12%9, pick(currencies, h>>16), orderWidth, n, 1+h>>20%9, contextOf(lane),
		messageID(padRun(o.Run), lane, n, o.Batch), userWidth, user(o, lane, n),
		visitor>>32, visitor>>16&0xffff, visitor>>4&0xfff, visitor&0xfff, mix(visitor, 3)>>16, rest)
}

func user(o *Options, lane int, n int64) int64 { return (n*int64(o.Conns) + int64(lane)) % users }

// encode builds the request and notes where its numbers stand.
func (w *worker) encode() {
	at := w.start.UTC().Format("2006-01-02T15:04:05.000Z")
	rest := `,"writeKey":"` + w.o.WriteKey + `"`
	path := "/v1/t"
	var body []byte
	if w.o.Batch == 1 {
		body = AppendTrack(nil, w.o, w.lane, 0, w.start, rest+`,"sentAt":"`+at+`"`)
	} else {
		path = "/v1/batch"
		body = append(body, `{"batch":[`...)
		for i := range w.o.Batch {
			if i > 0 {
				body = append(body, ',')
			}
			body = AppendTrack(body, w.o, w.lane, int64(i), w.start, rest)
		}
		body = append(body, `],"writeKey":"`+w.o.WriteKey+`","sentAt":"`+at+`"}`...)
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, w.o.Address, base64.StdEncoding.EncodeToString([]byte(w.o.WriteKey+":")), len(body))
	w.request, w.head = append([]byte(head), body...), len(head)
	w.ids = w.places(`"messageId":"lg-` + padRun(w.o.Run) + fmt.Sprintf("-%04d-", w.lane))
	w.users = w.places(`","userId":"u`)
	w.orders = w.places(`"order_id":"ord-`)
}

// places returns where in the body each after ends.
func (w *worker) places(after string) (at []int) {
	for from := w.head; ; {
		i := bytes.Index(w.request[from:], []byte(after))
		if i < 0 {
			return at
		}
		from += i + len(after)
		at = append(at, from)
	}
}

// patch writes the numbers of the request's events into it.
func (w *worker) patch() {
	for i := range w.ids {
		n := w.sequence + int64(i)
		putDigits(w.request[w.ids[i]:w.ids[i]+sequenceWidth], n)
		putDigits(w.request[w.users[i]:w.users[i]+userWidth], user(w.o, w.lane, n))
		putDigits(w.request[w.orders[i]:w.orders[i]+orderWidth], n)
	}
}

// putDigits fills dst with the decimal digits of n, zeros before them.
func putDigits(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

func padRun(run string) string { return run + strings.Repeat("0", runWidth-len(run)) }

// messageID has the same length for all events of a run. Its tail looks like chance, as
// the ids of SDKs do, and differs within a batch.
func messageID(run string, lane int, sequence int64, batch int) string {
	slot := uint64(sequence % int64(batch))
	return fmt.Sprintf("lg-%s-%04d-%0*d-%016x%08x", run, lane, sequenceWidth, sequence, mix(uint64(lane)<<32, slot), mix(uint64(lane)<<32, ^slot)>>32)
}

// Range is a run of sequence numbers, To not included.
type Range struct{ From, To int64 }

// Acked is the set of acknowledged events of a run, as ranges per connection.
type Acked struct {
	run   string
	batch int
	lanes [][]Range
}

// Len returns the number of events in the set.
func (a *Acked) Len() int64 {
	var n int64
	for _, lane := range a.lanes {
		for _, r := range lane {
			n += r.To - r.From
		}
	}
	return n
}

// IDs yields the messageId of every event in the set.
func (a *Acked) IDs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for lane, ranges := range a.lanes {
			for _, r := range ranges {
				for n := r.From; n < r.To; n++ {
					if !yield(messageID(a.run, lane, n, a.batch)) {
						return
					}
				}
			}
		}
	}
}

// Has says whether the event with this messageId was acknowledged.
func (a *Acked) Has(id string) bool {
	rest, ok := strings.CutPrefix(id, "lg-"+a.run+"-")
	if !ok {
		return false
	}
	laneText, sequenceText, ok := strings.Cut(rest, "-")
	lane, err := strconv.Atoi(laneText)
	sequenceText, _, _ = strings.Cut(sequenceText, "-")
	sequence, err2 := strconv.ParseInt(sequenceText, 10, 64)
	if !ok || err != nil || err2 != nil || sequence < 0 || lane < 0 || lane >= len(a.lanes) || id != messageID(a.run, lane, sequence, a.batch) {
		return false
	}
	for _, r := range a.lanes[lane] {
		if sequence >= r.From && sequence < r.To {
			return true
		}
	}
	return false
}

// Prefix is what the messageIds of the run begin with, for a LIKE over what was stored.
func (a *Acked) Prefix() string { return "lg-" + a.run + "-" }
