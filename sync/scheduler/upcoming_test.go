package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// TestUpcomingShowsTheClocks: people see a night in which clocks change.
func TestUpcomingShowsTheClocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schedule tidegate.Schedule
		from     string
		want     string
	}{
		{tidegate.Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}, "2026-03-27T12:00:00Z", "28 02:30 +01:00, 29 03:00 +02:00, 30 02:30 +02:00, 31 02:30 +02:00"},
		{tidegate.Schedule{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}, "2026-10-23T12:00:00Z", "24 02:30 +02:00, 25 02:30 +02:00, 26 02:30 +01:00, 27 02:30 +01:00"},
		{tidegate.Schedule{Cron: "0 12 30 2 *"}, "2026-10-23T12:00:00Z", ""},
		{tidegate.Schedule{Every: "15m"}, "2026-10-23T12:00:00Z", ""},
		{tidegate.Schedule{}, "2026-10-23T12:00:00Z", ""},
	} {
		p, err := Compile(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, at := range p.upcoming(p.Next(from)) {
			got = append(got, at.Format("02 15:04 -07:00"))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%+v: %s", c.schedule, text)
		}
	}
}
