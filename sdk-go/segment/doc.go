// Package analytics has the shape of gopkg.in/segmentio/analytics-go.v3 on top of
// Tidegate's client, so that a program moves by changing the import and the
// endpoint:
//
//   - analytics "gopkg.in/segmentio/analytics-go.v3"
//
//   - analytics "github.com/tidegate/tidegate/sdk-go/segment"
//
//   - client := analytics.New("WK")
//
//   - client, err := analytics.NewWithConfig("WK", analytics.Config{Endpoint: "https://events.example.com"})
//
// The messages are those of the package above, so that both can be used in one
// program while it moves. What differs from Segment's is told in README.md of the
// module. New code is better served by the package above: its Close takes a
// context, and it has Flush, a spool and counts.
package analytics
