package hubspot

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// script answers the calls to each path with a fixed status and body, and
// remembers which paths were called.
type script map[string]struct {
	status int
	body   string
}

func (s script) serve(seen *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		verb := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		*seen = append(*seen, verb)
		a, ok := s[verb]
		if !ok {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
}

// TestAnUnfinishedReadIsNoAbsence gives reads that do not say what became of a
// record: it must not be taken for gone, neither to be archived nor to be updated.
func TestAnUnfinishedReadIsNoAbsence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		action tidegate.Action
	}{
		"an internal error":     {`{"status":"COMPLETE","results":[],"errors":[{"category":"INTERNAL_ERROR","message":"oops","context":{"ids":["a@x.io"]}}]}`, tidegate.Retry},
		"a limit":               {`{"status":"COMPLETE","results":[],"errors":[{"category":"RATE_LIMITS","message":"slow"}]}`, tidegate.Throttle},
		"one absent, one error": {`{"status":"COMPLETE","results":[],"errors":[{"category":"OBJECT_NOT_FOUND","message":"x"},{"category":"TIMEOUT","message":"x"}]}`, tidegate.Retry},
		"a bad id property":     {`{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","message":"no such idProperty"}]}`, tidegate.Reject},
		"canceled":              {`{"status":"CANCELED","results":[]}`, tidegate.Retry},
		"another API":           {`{"ok":true}`, tidegate.Retry},
		"nothing":               {``, tidegate.Retry},
	} {
		for _, b := range []destinations.Batch{contacts(tidegate.Removed, tidegate.Mirror, "a@x.io", "b@x.io"), contacts(tidegate.Changed, tidegate.Update, "a@x.io", "b@x.io")} {
			t.Run(name+", "+string(b.Mode), func(t *testing.T) {
				t.Parallel()
				var seen []string
				d := connect(t, script{"read": {207, c.body}}.serve(&seen))
				out, err := d.Write(t.Context(), b)
				if f := tidegate.FaultOf(err); err == nil || f.Action != c.action {
					t.Errorf("%+v, %v, want a %s", out, err, c.action)
				}
				if diff := cmp.Diff([]string{"read"}, seen); diff != "" {
					t.Errorf("calls:\n%s", diff)
				}
			})
		}
	}
}

// TestArchiveReadsItsAnswer archives where the API keeps some records.
func TestArchiveReadsItsAnswer(t *testing.T) {
	t.Parallel()
	const delivered, rejected, deferred, doubt = destinations.Delivered, destinations.Rejected, destinations.Deferred, destinations.InDoubt
	for name, c := range map[string]struct {
		status int
		body   string
		want   []destinations.Disposition
	}{
		"no content":       {204, ``, []destinations.Disposition{delivered, delivered}},
		"gone already":     {207, `{"status":"COMPLETE","errors":[{"category":"OBJECT_NOT_FOUND","message":"x","context":{"ids":["12"]}}]}`, []destinations.Disposition{delivered, delivered}},
		"one is kept":      {207, `{"status":"COMPLETE","errors":[{"category":"VALIDATION_ERROR","message":"x","context":{"ids":["12"]}}]}`, []destinations.Disposition{delivered, rejected}},
		"one for later":    {207, `{"status":"COMPLETE","errors":[{"category":"INTERNAL_ERROR","message":"x","context":{"id":"11"}}]}`, []destinations.Disposition{deferred, delivered}},
		"nobody is named":  {207, `{"status":"COMPLETE","errors":[{"category":"VALIDATION_ERROR","message":"x"}]}`, []destinations.Disposition{doubt, doubt}},
		"a stranger's id":  {207, `{"status":"COMPLETE","errors":[{"category":"VALIDATION_ERROR","message":"x","context":{"ids":["99"]}}]}`, []destinations.Disposition{doubt, doubt}},
		"canceled":         {200, `{"status":"CANCELED"}`, []destinations.Disposition{doubt, doubt}},
		"not the endpoint": {200, `{"ok":true}`, []destinations.Disposition{doubt, doubt}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			d := connect(t, script{"archive": {c.status, c.body}}.serve(&seen))
			b := contacts(tidegate.Removed, tidegate.Mirror, "a@x.io", "b@x.io")
			b.Items[0].DestinationID, b.Items[1].DestinationID = "11", "12"
			var got []destinations.Disposition
			for _, o := range write(t, d, b) {
				got = append(got, o.Disposition)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestStatusesOfTheDocumentation holds classify to the API's own list of
// statuses (developers.hubspot.com/docs/api-reference/error-handling).
func TestStatusesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	d := connect(t, http.NotFoundHandler())
	for _, c := range []struct {
		status int
		header string
		action tidegate.Action
		after  time.Duration
	}{
		{400, "", tidegate.Reject, 0},
		{401, "", tidegate.Halt, 0},
		{402, "", tidegate.Halt, 0},
		{403, "", tidegate.Halt, 0},
		{404, "", tidegate.Halt, 0},
		{405, "", tidegate.Halt, 0},
		{408, "", tidegate.Retry, 0},
		{409, "", tidegate.Reject, 0},
		{413, "", tidegate.Reject, 0},
		{414, "", tidegate.Reject, 0}, // "Cannot have more than 250 identities on a profile"
		{415, "", tidegate.Halt, 0},
		{418, "", tidegate.Halt, 0},
		{422, "", tidegate.Reject, 0},
		{423, "", tidegate.Throttle, 2 * time.Second},
		{429, "", tidegate.Throttle, 10 * time.Second},
		{429, "4", tidegate.Throttle, 4 * time.Second},
		{477, "3600", tidegate.Throttle, time.Hour},
		{477, "", tidegate.Throttle, 10 * time.Minute},
		{502, "", tidegate.Retry, 0},
		{503, "", tidegate.Retry, 0},
		{504, "", tidegate.Retry, 0},
		{521, "", tidegate.Retry, 0},
		{522, "", tidegate.Retry, 0},
		{523, "", tidegate.Retry, 0},
		{524, "", tidegate.Retry, 0},
		{525, "", tidegate.Retry, 0},
		{526, "", tidegate.Retry, 0},
	} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{}}
		if c.header != "" {
			resp.Header.Set("Retry-After", c.header)
		}
		f := d.classify(resp, []byte(`{"status":"error","message":"m"}`))
		if f.Action != c.action || f.After != c.after || f.Code == "" || f.Action == tidegate.Halt && f.Hint == "" {
			t.Errorf("%d %s: %s %s %q hint %q, want %s %s", c.status, c.header, f.Action, f.After, f.Code, f.Hint, c.action, c.after)
		}
	}
}
