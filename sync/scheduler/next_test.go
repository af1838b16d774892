package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

func mustCompile(t *testing.T, s tidegate.Schedule) Plan {
	t.Helper()
	p, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClockChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cron, zone, after string
		want                    []string // in the zone
	}{
		{
			"a time in the gap fires when the gap ends", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		},
		{
			"two times in one gap fire once", "10,50 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:10:00+02:00"},
		},
		{
			"a doubled time fires the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		},
		{
			"from inside the repeated hour the next day comes", "30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00",
			[]string{"2026-10-26T02:30:00+01:00"},
		},
		{
			"every hour follows elapsed time through the doubled hour", "30 * * * *", "Europe/Berlin", "2026-10-25T01:00:00+02:00",
			[]string{"2026-10-25T01:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"},
		},
		{
			"every hour follows elapsed time over the gap", "30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00",
			[]string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"},
		},
		{
			"a gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"},
		},
		{
			"a gap at midnight", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00-04:00",
			[]string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"},
		},
		{
			"a zone without changes", "0 9 * * 1", "Asia/Tokyo", "2026-11-21T00:00:00+09:00",
			[]string{"2026-11-23T09:00:00+09:00", "2026-11-30T09:00:00+09:00"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := mustCompile(t, tidegate.Schedule{Cron: c.cron, Timezone: c.zone})
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range c.want {
				at = p.Next(at)
				got = append(got, at.In(zone).Format(time.RFC3339))
			}
			if strings.Join(got, " ") != strings.Join(c.want, " ") {
				t.Errorf("fires at\n%v\nwant\n%v", got, c.want)
			}
		})
	}
}

// TestEachDaysSlotFiresOnce holds daily expressions to an oracle that looks at
// every minute of seven years: one fire per calendar day, at the first minute
// whose wall clock is at or past the slot.
func TestEachDaysSlotFiresOnce(t *testing.T) {
	t.Parallel()
	zones := []string{
		"UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Los_Angeles", "America/Sao_Paulo", "America/St_Johns",
		"America/Havana", "Africa/Casablanca", "Africa/Cairo", "Asia/Tehran", "Asia/Kathmandu", "Asia/Beirut", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland",
		"Pacific/Chatham", "Pacific/Apia", "Antarctica/Troll",
	}
	for _, zone := range zones {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range [][2]int{{0, 0}, {0, 30}, {1, 59}, {2, 0}, {2, 30}, {3, 0}, {23, 45}} {
				p := mustCompile(t, tidegate.Schedule{Cron: fmt.Sprintf("%d %d * * *", slot[1], slot[0]), Timezone: zone})
				at := time.Date(2024, 1, 1, 23, 58, 0, 0, loc)
				end := time.Date(2031, 1, 1, 0, 0, 0, 0, loc)
				day := naive(at).Truncate(24 * time.Hour)
				for at.Before(end) {
					next := p.Next(at)
					if !next.After(at) {
						t.Fatalf("%02d:%02d: %v is followed by %v", slot[0], slot[1], at, next)
					}
					day = day.AddDate(0, 0, 1)
					if want := oracle(day.Add(time.Duration(slot[0])*time.Hour+time.Duration(slot[1])*time.Minute), loc); !next.Equal(want) {
						t.Fatalf("%02d:%02d on %s: fires at %v, want %v", slot[0], slot[1], day.Format(time.DateOnly), next.In(loc), want.In(loc))
					}
					at = next
				}
			}
		})
	}
}

// oracle walks the instants around wall, minute by minute, to the first whose
// clock shows wall or later. Around days on which the clocks do not change
// there is nothing to walk.
func oracle(wall time.Time, loc *time.Location) time.Time {
	_, before := wall.Add(-40 * time.Hour).In(loc).Zone()
	_, after := wall.Add(40 * time.Hour).In(loc).Zone()
	if before == after {
		return wall.Add(-time.Duration(before) * time.Second)
	}
	for t := wall.Add(-16 * time.Hour); ; t = t.Add(time.Minute) {
		if shown := naive(t.In(loc)); !shown.Before(wall) && shown.Sub(wall) < 3*time.Hour {
			return t
		}
		if t.Sub(wall) > 40*time.Hour {
			panic("the oracle found no minute")
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s    tidegate.Schedule
		want string
	}{
		{tidegate.Schedule{Cron: "61 * * * *"}, "schedule.cron"},
		{tidegate.Schedule{Cron: "* * * *"}, "five fields"},
		{tidegate.Schedule{Cron: "@every 5m"}, "every: 15m"},
		{tidegate.Schedule{Cron: "@daily", Timezone: "Europe/Berln"}, "schedule.timezone"},
		{tidegate.Schedule{Every: "soon"}, "schedule.every"},
		{tidegate.Schedule{Every: "10ms"}, "at least 1s"},
		{tidegate.Schedule{Every: "1h", Cron: "@daily"}, "keep one"},
	} {
		_, err := Compile(c.s)
		f := tidegate.FaultOf(err)
		if f == nil || f.Code != "schedule.invalid" || !strings.Contains(f.Error()+f.Hint, c.want) {
			t.Errorf("%+v: got %v, want a schedule.invalid that says %q", c.s, err, c.want)
		}
	}
}

func TestADateThatNeverComesNeverFires(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, tidegate.Schedule{Cron: "0 0 30 2 *"})
	if at := p.Next(time.Unix(0, 0)); !at.IsZero() {
		t.Errorf("30 February comes at %v", at)
	}
}
