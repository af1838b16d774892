package project

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/mapping"
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// mapping checks what needs neither model nor destination; columns and fields
// are checked when the sync is planned.
func (c *checker) mapping(it item[tidegate.Sync]) {
	for _, p := range mapping.Lint(it.value.Mapping) {
		c.add(it.problem(p.Path, p.Message, p.Hint))
	}
	if c.offered() {
		return // a dbt model can be looked up too, and is not known here
	}
	known := names(c.models, func(v tidegate.Model) string { return v.Name })
	for _, j := range mapping.Joins(it.value.Mapping) {
		c.refers(it, j.Path+".model", j.Lookup.Model, known)
	}
}

func (c *checker) schedule(it item[tidegate.Sync]) {
	s := it.value.Schedule
	if s.Cron != "" && s.Every != "" {
		c.add(it.problem("schedule.every", "the schedule has both cron and every", "keep one"))
	}
	if s.Cron != "" {
		if strings.Contains(s.Cron, "TZ=") {
			c.add(it.problem("schedule.cron", "the time zone does not stand in the expression", "write it as schedule.timezone"))
		} else if _, err := cron.ParseStandard(s.Cron); err != nil {
			c.add(it.problem("schedule.cron", fmt.Sprintf("%q is no cron expression: %s", s.Cron, err), "five fields: minute hour day month weekday, as in `0 6 * * 1-5`"))
		}
	}
	if s.Timezone != "" {
		if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
			c.add(it.problem("schedule.timezone", fmt.Sprintf("there is no time zone %q", s.Timezone), "write an IANA name such as Europe/Berlin"))
		} else if s.Cron == "" {
			c.add(it.problem("schedule.timezone", "a time zone needs a cron expression", "remove it or add schedule.cron"))
		}
	}
	if d, err := time.ParseDuration(s.Freshness); err == nil && d < time.Minute {
		c.add(it.problem("schedule.freshness", "the shortest objective is one minute", "lateness is looked at every few seconds"))
	}
	if s.Every != "" {
		d, err := time.ParseDuration(s.Every)
		switch {
		case err != nil:
			c.add(it.problem("schedule.every", fmt.Sprintf("%q is no duration", s.Every), "write 30s, 15m or 6h"))
		case d < time.Second:
			c.add(it.problem("schedule.every", "the shortest interval is one second", "use after_load for a sync that follows its data"))
		}
	}
}

func (c *checker) guards(it item[tidegate.Sync]) {
	g := it.value.Guards
	for field, percent := range map[string]float64{"max_removed_percent": g.MaxRemovedPercent, "max_changed_percent": g.MaxChangedPercent} {
		if percent != -1 && (percent < 0 || percent > 100) {
			c.add(it.problem("guards."+field, fmt.Sprintf("%v is no percentage", percent), "0 to 100, or -1 to switch the guard off"))
		}
	}
	if g.MaxRemovedRows < -1 {
		c.add(it.problem("guards.max_removed_rows", fmt.Sprintf("%d is no number of rows", g.MaxRemovedRows), "0 or more, or -1 to switch the guard off"))
	}
}

// withoutComments drops line and block comments; it needs not understand
// strings because its result is only looked at for emptiness.
func withoutComments(sql string) string {
	sql = blockComment.ReplaceAllString(sql, " ")
	return lineComment.ReplaceAllString(sql, " ")
}

var (
	blockComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	lineComment  = regexp.MustCompile(`--[^\n]*`)
)
