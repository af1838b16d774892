package loadgen

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

const (
	runWidth      = 8
	sequenceWidth = 12
	userWidth     = 6
	users         = 10_000
)

// A track as analytics.js sends it, about 780 bytes. The first %s is the time,
// the digits after "u" and the end of the messageId are patched per event.
const trackEvent = `{"timestamp":"%s","integrations":{"Segment.io":true},"event":"Order Completed","type":"track",` +
	`"properties":{"revenue":12.5,"currency":"EUR","order_id":"ord-0000001234","products":3},` +
	`"context":{"page":{"path":"/shop/checkout","referrer":"https://www.example.com/","search":"?utm_source=news","title":"Checkout","url":"https://shop.example.com/shop/checkout?utm_source=news"},` +
	`"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"news"},"timezone":"UTC"},` +
	`"messageId":"%s","userId":"u%s","anonymousId":"ca0514ac-3de2-4d21-92dc-59d1061608e3","writeKey":"%s"%s}`

// encode builds the request and notes where its numbers stand.
func (w *worker) encode() {
	at := w.start.UTC().Format("2006-01-02T15:04:05.000Z")
	id, user := messageID(padRun(w.o.Run), w.lane, 0), strings.Repeat("0", userWidth)
	path, body := "/v1/t", fmt.Sprintf(trackEvent, at, id, user, w.o.WriteKey, `,"sentAt":"`+at+`"`)
	if w.o.Batch > 1 {
		event := fmt.Sprintf(trackEvent, at, id, user, w.o.WriteKey, "")
		path = "/v1/batch"
		body = `{"batch":[` + strings.Repeat(event+",", w.o.Batch-1) + event + `],"writeKey":"` + w.o.WriteKey + `","sentAt":"` + at + `"}`
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		path, w.o.Address, base64.StdEncoding.EncodeToString([]byte(w.o.WriteKey+":")), len(body))
	w.request, w.head = []byte(head+body), len(head)
	for from := w.head; ; {
		i := bytes.Index(w.request[from:], []byte(id))
		if i < 0 {
			break
		}
		from += i + len(id)
		w.ids = append(w.ids, from-sequenceWidth)
		w.users = append(w.users, from+len(`","userId":"u`))
	}
}

// patch writes the numbers of the request's events into it.
func (w *worker) patch() {
	for i := range w.ids {
		n := w.sequence + int64(i)
		putDigits(w.request[w.ids[i]:w.ids[i]+sequenceWidth], n)
		putDigits(w.request[w.users[i]:w.users[i]+userWidth], (n*int64(w.o.Conns)+int64(w.lane))%users)
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

// messageID has the same length for all events of a run.
func messageID(run string, lane int, sequence int64) string {
	return fmt.Sprintf("lg-%s-%04d-%0*d", run, lane, sequenceWidth, sequence)
}

// Range is a run of sequence numbers, To not included.
type Range struct{ From, To int64 }

// Acked is the set of acknowledged events of a run, as ranges per connection.
type Acked struct {
	run   string
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
					if !yield(messageID(a.run, lane, n)) {
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
	sequence, err2 := strconv.ParseInt(sequenceText, 10, 64)
	if !ok || err != nil || err2 != nil || lane < 0 || lane >= len(a.lanes) || id != messageID(a.run, lane, sequence) {
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
