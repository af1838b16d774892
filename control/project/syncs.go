package project

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tidegate/tidegate"
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// mapping checks what needs neither model nor destination; columns and fields
// are checked when the sync is planned.
func (c *checker) mapping(it item[tidegate.Sync]) {
	m := it.value.Mapping
	seen := map[string]int{}
	for i, f := range m.Fields {
		at := fmt.Sprintf("mapping.fields[%d]", i)
		var set []string
		if f.Column != "" {
			set = append(set, "column")
		}
		if len(f.Constant) > 0 {
			set = append(set, "constant")
		}
		if f.Template != "" {
			set = append(set, "template")
		}
		switch len(set) {
		case 0:
			c.add(it.problem(at, fmt.Sprintf("the field %q gets no value", f.Field), "add column, constant or template"))
		case 1:
		default:
			c.add(it.problem(at, fmt.Sprintf("the field %q has %s", f.Field, strings.Join(set, " and ")), "keep one"))
		}
		if f.Field == "" {
			continue
		}
		if first, twice := seen[f.Field]; twice {
			c.add(it.problem(at+".field", fmt.Sprintf("the field %q is mapped twice", f.Field), fmt.Sprintf("the first is mapping.fields[%d]", first)))
			continue
		}
		seen[f.Field] = i
	}
	if _, mapped := seen[m.Identifier]; m.Identifier != "" && len(m.Fields) > 0 && !mapped {
		c.add(it.problem("mapping.identifier", fmt.Sprintf("the identifier %q is not mapped", m.Identifier), "add it to mapping.fields"))
	}
	if it.value.Mode != "" && m.Fields != nil && len(m.Fields) == 0 {
		c.add(it.problem("mapping.fields", "must map at least one field", ""))
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
