package hubspot

import (
	"net/http"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// callOfDay is what an account pays with: every app draws from the same calls a day.
const callOfDay = "daily HubSpot call"

// Cost is the calls that a plan takes of the account's day. Where records are
// looked up before they are written every write takes two.
func (d *Destination) Cost(_ string, s destinations.Spending) []destinations.Cost {
	perWrite := int64(1)
	if s.Mode == tidegate.Update || s.Mode == tidegate.Audience {
		perWrite = 2
	}
	if s.Calls == 0 {
		return nil
	}
	cost := destinations.Cost{Unit: callOfDay, Amount: s.Calls * perWrite}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leftOfDay >= 0 {
		left := d.leftOfDay
		cost.Left = &left
	}
	return []destinations.Cost{cost}
}

// noteDay remembers what an answer says is left of the day. Answers to calls of
// an OAuth app do not say it, nor do those of the search.
func (d *Destination) noteDay(h http.Header) {
	left, err := strconv.ParseInt(h.Get("X-HubSpot-RateLimit-Daily-Remaining"), 10, 64)
	if err != nil || left < 0 {
		return
	}
	d.mu.Lock()
	d.leftOfDay = left
	d.mu.Unlock()
}
