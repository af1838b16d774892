package api_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestTheDbtWebhookIsOpenedByItsSignatureOnly: no API token stands in for it.
func TestTheDbtWebhookIsOpenedByItsSignatureOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for authorization, want := range map[string]int{"signed": http.StatusOK, "forged": http.StatusUnauthorized, "": http.StatusUnauthorized, "Bearer " + r.token: http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/v1/dbt/webhook", strings.NewReader(`{"eventType":"job.run.completed"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", authorization, resp.StatusCode, want)
		}
	}
}

func TestDbtAndLineageThroughTheClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	list, err := r.admin.Dbt(t.Context())
	if err != nil || len(list) != 1 || list[0].Models[0].Table != "marts.customers" {
		t.Error(list, err)
	}
	if list, err = r.admin.RefreshDbt(t.Context()); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	l, err := r.admin.Lineage(t.Context(), "crm")
	if err != nil || len(l.Edges) != 1 || l.Edges[0].To != "crm.contacts.email" {
		t.Error(l, err)
	}
}
