package consent

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate"
)

// Segment's table of consent against integrations, row by row. The destinations:
// facebook and google_ads serve ads, amplitude analytics, webhook needs no consent.
func TestSegmentsTable(t *testing.T) {
	t.Parallel()
	simple := map[string][]string{"facebook": {"ad"}, "google_ads": {"ad"}, "amplitude": {"analytics"}, "webhook": nil}
	both := map[string][]string{"facebook": {"ad", "analytics"}, "google_ads": {"ad"}, "amplitude": {"analytics"}, "webhook": nil}
	unmapped := map[string][]string{"facebook": nil, "google_ads": nil, "amplitude": nil, "webhook": nil}
	const (
		none         = `{}`
		emptyConsent = `{"consent":{}}`
		emptyList    = `{"consent":{"categoryPreferences":{}}}`
		adOnly       = `{"consent":{"categoryPreferences":{"ad":true,"analytics":false}}}`
		analytics    = `{"consent":{"categoryPreferences":{"ad":false,"analytics":true}}}`
		everything   = `{"consent":{"categoryPreferences":{"ad":true,"analytics":true}}}`
		noObject     = `{}`
		facebook     = `{"facebook":true,"amplitude":false}`
		neither      = `{"facebook":false,"amplitude":false}`
	)
	for _, c := range []struct {
		context, integrations string
		categories            map[string][]string
		want                  []string // the destinations that get the event
	}{
		{none, noObject, simple, []string{"amplitude", "facebook", "google_ads", "webhook"}},
		{emptyConsent, noObject, simple, []string{"amplitude", "facebook", "google_ads", "webhook"}},
		{emptyList, noObject, simple, []string{"webhook"}},
		{none, facebook, simple, []string{"facebook", "google_ads", "webhook"}},
		{emptyConsent, facebook, simple, []string{"webhook"}},
		{emptyList, facebook, simple, []string{"webhook"}},
		{adOnly, noObject, unmapped, []string{"amplitude", "facebook", "google_ads", "webhook"}},
		{adOnly, facebook, unmapped, []string{"facebook", "google_ads", "webhook"}},
		{adOnly, noObject, simple, []string{"facebook", "google_ads", "webhook"}},
		{adOnly, facebook, simple, []string{"facebook", "google_ads", "webhook"}},
		{adOnly, neither, simple, []string{"google_ads", "webhook"}},
		{adOnly, facebook, both, []string{"google_ads", "webhook"}},
		{everything, facebook, both, []string{"facebook", "google_ads", "webhook"}},
		{analytics, facebook, both, []string{"webhook"}}, // amplitude is false in integrations
	} {
		for _, shared := range []bool{false, true} {
			ev := &tidegate.Event{Body: fmt.Appendf(nil, `{"type":"track","context":%s,"integrations":%s}`, c.context, c.integrations)}
			if shared { // by the batch instead
				ev = &tidegate.Event{Body: []byte(`{"type":"track"}`), Context: []byte(c.context), Integrations: []byte(c.integrations)}
			}
			var got []string
			for _, destination := range []string{"amplitude", "facebook", "google_ads", "webhook"} {
				ok, reason := Allows(ev, destination, c.categories[destination])
				if ok != (reason == "") {
					t.Errorf("%s, %s: allowed %v with the reason %q", c.context, c.integrations, ok, reason)
				}
				if ok {
					got = append(got, destination)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s, %s, %v, by the batch %v: delivered to %v, want %v", c.context, c.integrations, c.categories, shared, got, c.want)
			}
		}
	}
}

func TestAllows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, context, integrations string
		destination                 string
		categories                  []string
		want                        Reason
	}{
		"nothing said":                       {body: `{"event":"E"}`, destination: "crm", categories: []string{"ad"}},
		"a category nobody asked about":      {body: `{"context":{"consent":{"categoryPreferences":{"ad":true}}}}`, destination: "crm", categories: []string{"functional"}, want: NoConsent},
		"an answer that is not true":         {body: `{"context":{"consent":{"categoryPreferences":{"ad":"true"}}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"the last of two answers":            {body: `{"context":{"consent":{"categoryPreferences":{"ad":true,"ad":false}}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"a list that is none":                {body: `{"context":{"consent":{"categoryPreferences":7}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"a consent object that is none":      {body: `{"context":{"consent":null}}`, destination: "crm", categories: []string{"ad"}},
		"the name of the mobile SDKs":        {body: `{"context":{"consent":{"categoryPreference":{"ad":true}}}}`, destination: "crm", categories: []string{"ad"}},
		"the name, escaped":                  {body: `{"c\u006fntext":{"c\u006fnsent":{"categoryPreferences":{"ad":false}}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"letters matter in categories":       {body: `{"context":{"consent":{"categoryPreferences":{"Ad":true}}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"the event over its batch, yes":      {body: `{"context":{"consent":{"categoryPreferences":{"ad":true}}}}`, context: `{"consent":{"categoryPreferences":{"ad":false}}}`, destination: "crm", categories: []string{"ad"}},
		"the event over its batch, no":       {body: `{"context":{"consent":{"categoryPreferences":{"ad":false}}}}`, context: `{"consent":{"categoryPreferences":{"ad":true}}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"the batch for what an event omits":  {body: `{"context":{"consent":{"categoryPreferences":{"ad":true}}}}`, context: `{"consent":{"categoryPreferences":{"fun":true}}}`, destination: "crm", categories: []string{"ad", "fun"}},
		"all off":                            {body: `{"integrations":{"All":false}}`, destination: "crm", want: NotChosen},
		"all off but one":                    {body: `{"integrations":{"All":false,"CRM":true}}`, destination: "crm"},
		"options choose":                     {body: `{"integrations":{"All":false,"Google Ads":{"id":1}}}`, destination: "google_ads"},
		"null does not":                      {body: `{"integrations":{"google-ads":null}}`, destination: "google_ads", want: NotChosen},
		"the exact name before a like one":   {body: `{"integrations":{"google_ads":false,"Google Ads":true}}`, destination: "google_ads", want: NotChosen},
		"the event's integrations win":       {body: `{"integrations":{"crm":true}}`, integrations: `{"crm":false}`, destination: "crm"},
		"the batch's integrations hold":      {body: `{}`, integrations: `{"All":false}`, destination: "crm", want: NotChosen},
		"what is no object says nothing":     {body: `{"integrations":[false]}`, destination: "crm"},
		"consent before integrations":        {body: `{"context":{"consent":{"categoryPreferences":{"ad":false}}},"integrations":{"crm":false}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
		"denied by RudderStack's SDKs":       {body: `{"context":{"consentManagement":{"deniedConsentIds":["ad"]}}}`, destination: "crm", categories: []string{"ad", "fun"}, want: NoConsent},
		"allowed by RudderStack's SDKs":      {body: `{"context":{"consentManagement":{"deniedConsentIds":["x"],"allowedConsentIds":["ad"]}}}`, destination: "crm", categories: []string{"ad"}},
		"one of two denied, or":              {body: `{"context":{"consentManagement":{"deniedConsentIds":["ad"],"resolutionStrategy":"or"}}}`, destination: "crm", categories: []string{"ad", "fun"}},
		"both denied, or":                    {body: `{"context":{"consentManagement":{"deniedConsentIds":["ad","fun"],"resolutionStrategy":"or"}}}`, destination: "crm", categories: []string{"ad", "fun"}, want: NoConsent},
		"denied, the destination needs none": {body: `{"context":{"consentManagement":{"deniedConsentIds":["ad"]}}}`, destination: "crm"},
		"denied by the batch":                {body: `{}`, context: `{"consentManagement":{"deniedConsentIds":["ad"]}}`, destination: "crm", categories: []string{"ad"}, want: NoConsent},
	} {
		ev := &tidegate.Event{Body: []byte(c.body), Context: []byte(c.context), Integrations: []byte(c.integrations)}
		if ok, reason := Allows(ev, c.destination, c.categories); reason != c.want || ok != (c.want == "") {
			t.Errorf("%s: allowed %v, %q, want %q", name, ok, reason, c.want)
		}
	}
}

// Arbitrary bytes give an answer; and a destination without a category is never
// held back for consent.
func FuzzAllows(f *testing.F) {
	f.Add([]byte(`{"context":{"consent":{"categoryPreferences":{"ad":true}}}}`), []byte(`{"consent":{}}`), []byte(`{"All":false}`))
	f.Add([]byte(`{"context":{"consentManagement":{"deniedConsentIds":["ad"`), []byte(`{`), []byte(`{"a`))
	f.Fuzz(func(t *testing.T, body, context, integrations []byte) {
		ev := &tidegate.Event{Body: body, Context: context, Integrations: integrations}
		if ok, reason := Allows(ev, "crm", nil); reason == NoConsent || ok != (reason == "") {
			t.Errorf("without a category: allowed %v, %q", ok, reason)
		}
		if ok, reason := Allows(ev, "crm", []string{"ad"}); ok != (reason == "") {
			t.Errorf("allowed %v with the reason %q", ok, reason)
		}
	})
}

func BenchmarkAllows(b *testing.B) {
	for name, body := range map[string]string{
		"quiet":   `{"type":"track","event":"Order Completed","properties":{"total":12.5,"currency":"EUR"},"context":{"page":{"url":"https://shop.example.com/"}}}`,
		"consent": `{"type":"track","event":"Order Completed","properties":{"total":12.5,"currency":"EUR"},"context":{"consent":{"categoryPreferences":{"ad":true,"fun":false}}},"integrations":{"All":true}}`,
	} {
		b.Run(name, func(b *testing.B) {
			ev := &tidegate.Event{Body: []byte(body)}
			b.ReportAllocs()
			for b.Loop() {
				if ok, _ := Allows(ev, "crm", []string{"ad"}); !ok {
					b.Fatal("held back")
				}
			}
		})
	}
}
