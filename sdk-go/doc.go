// Package analytics sends events to a Tidegate hub, or to any server that
// speaks the batch protocol of Segment and RudderStack.
//
//	client, err := analytics.New(analytics.Config{WriteKey: "WK", Endpoint: "https://events.example.com"})
//	…
//	err = client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed", Properties: analytics.NewProperties().SetRevenue(12.5)})
//	…
//	err = client.Close(ctx)
//
// What holds:
//
//   - Enqueue never waits for the network. It encodes the message before it
//     returns, so the caller may change its maps afterwards, and answers
//     ErrQueueFull when the queue has no room.
//   - Messages leave in the order in which they were enqueued, in batches, with
//     one request in flight: a retry cannot overtake what came after it.
//   - A message keeps its messageId over all attempts, so that a server can tell
//     a repeat. It is given up only when the server refuses it for good or when
//     it is older than Config.GiveUpAfter.
//   - With Config.SpoolDir, what Enqueue accepted outlives a killed process and
//     is sent at the next start. What the server acknowledged is no longer in
//     the spool when Callback.Success hears of it.
//   - Accepted + recovered = delivered + failed + queued, at any time (Stats).
//
// It does not enrich messages beyond library and time, does not sample, and does
// not forward to anything but one endpoint. All methods of a Client may be called
// from many goroutines; a Client owns one goroutine (two with a spool), which
// Close waits for.
//
// Programs written for gopkg.in/segmentio/analytics-go.v3 compile against the
// package segment below this one.
package analytics
