package hubspot

import (
	"net/http"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	if id, err := connect(t, simulator(t, `{"portal_id": 4711}`)).Account(t.Context()); id != "4711" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	for status, want := range map[int]string{
		http.StatusForbidden: "", http.StatusNotFound: "", // nobody may ask: the account stays unknown
		http.StatusUnauthorized: "auth.expired", http.StatusBadGateway: "hubspot.unavailable",
	} {
		d := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, status, map[string]string{"status": "error", "message": "no"})
		}))
		id, err := d.Account(t.Context())
		if id != "" || want == "" && err != nil || want != "" && tidegate.FaultOf(err).Code != want {
			t.Errorf("%d: %q, %v", status, id, err)
		}
	}
}
