package hubspot

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// searchesPerSecond is the account's limit of searches.
const searchesPerSecond = 5

// guarded wraps a handler with token, limits and planned failures; it holds the lock.
func (s *Simulator) guarded(handle http.HandlerFunc) http.HandlerFunc {
	return s.guard(s.allow, handle)
}

// searchAPI is api for the search, which has a limit of its own.
func (s *Simulator) searchAPI(handle objectHandler) http.HandlerFunc {
	return s.guard(s.allowSearch, s.of(handle))
}

func (s *Simulator) guard(allow func(w http.ResponseWriter, now time.Time) bool, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.o.LatencyMS > 0 {
			wait := time.NewTimer(time.Duration(s.o.LatencyMS) * time.Millisecond)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-r.Context().Done():
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.arrived++
		now := time.Now() //nolint:forbidigo // a vendor has its own clock
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case !ok || token == "" || s.o.Token != "" && token != s.o.Token:
			refuse(w, http.StatusUnauthorized, "INVALID_AUTHENTICATION", "Authentication credentials not found or not valid.")
		case !allow(w, now):
		case s.o.FailEvery > 0 && s.arrived%int64(s.o.FailEvery) == 0:
			refuse(w, http.StatusInternalServerError, "INTERNAL_ERROR", "internal error")
		default:
			handle(w, r)
		}
	}
}

// allow counts the call against the limits of ten seconds and of the day.
func (s *Simulator) allow(w http.ResponseWriter, now time.Time) bool {
	s.recent = within(s.recent, now, 10*time.Second)
	limit := s.o.CallsPerTenSeconds
	h := w.Header()
	h.Set("X-HubSpot-RateLimit-Max", strconv.Itoa(limit))
	h.Set("X-HubSpot-RateLimit-Interval-Milliseconds", "10000")
	h.Set("X-HubSpot-RateLimit-Remaining", strconv.Itoa(max(limit-len(s.recent)-1, 0)))
	if !s.allowToday(w, now) {
		return false
	}
	h.Set("X-HubSpot-RateLimit-Daily", strconv.Itoa(s.o.CallsPerDay))
	h.Set("X-HubSpot-RateLimit-Daily-Remaining", strconv.Itoa(s.o.CallsPerDay-s.ofDay))
	if len(s.recent) < limit {
		s.recent = append(s.recent, now)
		return true
	}
	tooMany(w, "You have reached your ten_secondly_rolling limit.", "TEN_SECONDLY_ROLLING")
	return false
}

// allowSearch counts a search; its answers tell no limits.
func (s *Simulator) allowSearch(w http.ResponseWriter, now time.Time) bool {
	if s.looked = within(s.looked, now, time.Second); len(s.looked) >= searchesPerSecond {
		tooMany(w, "You have reached your secondly limit.", "SECONDLY")
		return false
	}
	s.looked = append(s.looked, now)
	return s.allowToday(w, now)
}

func (s *Simulator) allowToday(w http.ResponseWriter, now time.Time) bool {
	if day := now.UTC().Format(time.DateOnly); day != s.day {
		s.day, s.ofDay = day, 0
	}
	if s.ofDay >= s.o.CallsPerDay {
		tooMany(w, "You have reached your daily limit.", "DAILY")
		return false
	}
	s.ofDay++
	return true
}

// within drops the calls that are older than window.
func within(calls []time.Time, now time.Time, window time.Duration) []time.Time {
	return slices.DeleteFunc(calls, func(t time.Time) bool { return now.Sub(t) > window })
}

func tooMany(w http.ResponseWriter, message, policy string) {
	answer(w, http.StatusTooManyRequests, map[string]string{
		"status": "error", "message": message, "errorType": "RATE_LIMIT",
		"correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24", "policyName": policy,
	})
}
