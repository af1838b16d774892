package scheduler

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tidegate/tidegate"
)

// MinEvery is the shortest interval that a schedule may name.
const MinEvery = time.Second

// Plan is a compiled schedule. Its zero value never fires. It is immutable.
type Plan struct {
	cron      *cron.SpecSchedule
	everyHour bool
	zone      *time.Location
	every     time.Duration
}

// allHours are the 24 bits of the hour field and nothing else of it.
const allHours = 1<<24 - 1

// Compile checks s. A problem is a Halt fault with the code "schedule.invalid"
// whose subject is the field.
func Compile(s tidegate.Schedule) (Plan, error) {
	if s.Cron != "" && s.Every != "" {
		return Plan{}, invalid("schedule", "cron and every are both set", "keep one of them")
	}
	zone := time.UTC
	if s.Timezone != "" {
		loc, err := time.LoadLocation(s.Timezone)
		if err != nil {
			return Plan{}, invalid("schedule.timezone", fmt.Sprintf("%q is no time zone", s.Timezone), "use an IANA name such as Europe/Berlin")
		}
		zone = loc
	}
	switch {
	case s.Cron != "":
		// The expression is read in UTC: times are computed as wall-clock times
		// without a zone and put into the zone afterwards.
		parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(s.Cron)
		if err != nil {
			return Plan{}, invalid("schedule.cron", fmt.Sprintf("%q: %v", s.Cron, err), "five fields: minute hour day-of-month month day-of-week")
		}
		spec, ok := parsed.(*cron.SpecSchedule)
		if !ok {
			return Plan{}, invalid("schedule.cron", fmt.Sprintf("%q is an interval", s.Cron), "write it as `every: 15m`")
		}
		spec.Location = time.UTC
		return Plan{cron: spec, everyHour: spec.Hour&allHours == allHours, zone: zone}, nil
	case s.Every != "":
		d, err := time.ParseDuration(s.Every)
		if err != nil || d < MinEvery {
			return Plan{}, invalid("schedule.every", fmt.Sprintf("%q is no interval of at least %v", s.Every, MinEvery), "write it as 30s, 15m or 6h")
		}
		return Plan{every: d}, nil
	}
	return Plan{}, nil
}

func invalid(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "schedule.invalid", Subject: subject, Message: message, Hint: hint}
}

// Next returns the first time after t at which the plan fires; zero when it never does.
func (p Plan) Next(t time.Time) time.Time {
	switch {
	case p.cron == nil && p.every == 0:
		return time.Time{}
	case p.cron == nil:
		return t.Add(p.every)
	case p.everyHour:
		return p.nextElapsed(t)
	}
	wall := naive(t.In(p.zone))
	for range 1000 { // a doubled hour holds at most 60 candidates in the past
		wall = p.cron.Next(wall)
		if wall.IsZero() {
			return time.Time{} // such a date does not come: 30 February
		}
		if at := inZone(wall, p.zone); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// shown is how many fires people are shown.
const shown = 4

// upcoming are the fires of a cron schedule from first on, in its zone, so that a change of clocks is seen.
func (p Plan) upcoming(first time.Time) []time.Time {
	var list []time.Time
	for at := first; p.cron != nil && !at.IsZero() && len(list) < shown; at = p.Next(at) {
		list = append(list, at.In(p.zone))
	}
	return list
}

// nextElapsed looks minute by minute of elapsed time at the wall clock, so
// that each hour that exists has its fires, repeated or not.
func (p Plan) nextElapsed(t time.Time) time.Time {
	_, zoneEnd := t.In(p.zone).ZoneBounds()
	at := p.within(t)
	if zoneEnd.IsZero() || !at.IsZero() && at.Before(zoneEnd) {
		return at
	}
	// The clock changes before then: go on from the change, in its new offset.
	return p.within(zoneEnd.Add(-time.Nanosecond))
}

// within is the next fire as long as the zone's offset just after t holds.
func (p Plan) within(t time.Time) time.Time {
	local := t.Add(time.Nanosecond).In(p.zone)
	_, offset := local.Zone()
	wall := p.cron.Next(naive(local).Add(-time.Nanosecond))
	if wall.IsZero() {
		return wall
	}
	return wall.Add(-time.Duration(offset) * time.Second)
}

// naive is t's wall clock as if it were UTC.
func naive(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// inZone is the first instant at which zone's clocks show wall, or, when a
// change of the clocks leaves wall out, the instant of that change.
func inZone(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), zone)
	start, end := t.ZoneBounds()
	if shown := naive(t); shown.After(wall) {
		return start.In(time.UTC)
	} else if shown.Before(wall) {
		return end.In(time.UTC)
	}
	if !start.IsZero() {
		_, before := start.Add(-time.Nanosecond).Zone()
		_, now := t.Zone()
		earlier := t.Add(time.Duration(now-before) * time.Second)
		if earlier.Before(start) && naive(earlier.In(zone)).Equal(wall) {
			return earlier.In(time.UTC)
		}
	}
	return t.In(time.UTC)
}
