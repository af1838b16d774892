package ingest

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate"
)

// forgotten is a Suppression of a few people, and remembers what it was asked.
type forgotten struct {
	users, anonymous map[string]bool
	asked            []string
}

func (f *forgotten) Suppressed(source string, userID, anonymousID []byte) bool {
	f.asked = append(f.asked, source+"|"+string(userID)+"|"+string(anonymousID))
	return f.users[string(userID)] || f.anonymous[string(anonymousID)]
}

// kept is what the journal has of an event.
type kept struct {
	Body, Refusal, IP, Context, Integrations string
}

func (h *hub) kept() []kept {
	events, _ := h.journal.take()
	var out []kept
	for _, e := range events {
		out = append(out, kept{string(e.Body), e.Refusal, e.RequestIP, string(e.Context), string(e.Integrations)})
	}
	return out
}

const gone = tidegate.RefusedSuppressed

// A suppressed person's event is journaled without what it says, nothing of what
// it shared with others is told with it, and the SDK is answered as ever.
func TestSuppression(t *testing.T) {
	t.Parallel()
	const ip = "192.0.2.1" // of requests that httptest makes
	for name, c := range map[string]struct {
		path, body string
		answer     string
		want       []kept
		asked      []string
	}{
		"by user id": {
			"/v1/track", `{"event":"E","userId":"gone","messageId":"m1","properties":{"secret":1},"context":{"ip":"1.2.3.4"}}`,
			`"receivedEvents":1,"okEvents":1,"errors":[]`,
			[]kept{{Body: `{"messageId":"m1"}`, Refusal: gone}},
			[]string{"web|gone|"},
		},
		"by anonymous id, without a message id": {
			"/v1/track", `{"event":"E","userId":"u","anonymousId":"gone too","properties":{"secret":1}}`,
			`"okEvents":1`,
			[]kept{{Body: `{}`, Refusal: gone}},
			[]string{"web|u|gone too"},
		},
		"by a number": {
			"/v1/track", `{"event":"E","userId":7,"messageId":"m1"}`, `"okEvents":1`, []kept{{Body: `{"messageId":"m1"}`, Refusal: gone}}, []string{"web|7|"},
		},
		"by an escaped id": {
			"/v1/track", `{"event":"E","userId":"g\u006fne","messageId":"m1"}`, `"okEvents":1`, []kept{{Body: `{"messageId":"m1"}`, Refusal: gone}}, []string{"web|gone|"},
		},
		"by the other id of an alias": {
			"/v1/alias", `{"userId":"u","previousId":"gone","messageId":"m1"}`, `"okEvents":1`,
			[]kept{{Body: `{"messageId":"m1"}`, Refusal: gone}},
			[]string{"web|u|", "web|gone|gone"},
		},
		"even when it would be refused": {
			"/v1/track", `{"userId":"gone","messageId":"m1"}`, `"okEvents":1`, []kept{{Body: `{"messageId":"m1"}`, Refusal: gone}}, []string{"web|gone|"},
		},
		"with an id that could not be kept": {
			"/v1/track", `{"event":"E","userId":"gone","messageId":{"secret":1}}`, `"okEvents":1`, []kept{{Body: `{}`, Refusal: gone}}, []string{"web|gone|"},
		},
		"among others": {
			"/v1/batch", `{"batch":[{"type":"track","event":"E","userId":"u","messageId":"m1"},{"type":"track","event":"E","userId":"gone","messageId":"m2"},{"type":"track","userId":"u","messageId":"m3"}],` +
				`"context":{"traits":{"mail":"x"}},"integrations":{"All":true}}`,
			`"receivedEvents":3,"okEvents":2,"errors":[{"index":2`,
			[]kept{
				{Body: `{"type":"track","event":"E","userId":"u","messageId":"m1"}`, IP: ip, Context: `{"traits":{"mail":"x"}}`, Integrations: `{"All":true}`},
				{Body: `{"messageId":"m2"}`, Refusal: gone},
				{Body: `{"type":"track","userId":"u","messageId":"m3"}`, Refusal: RefusedNoName, IP: ip, Context: `{"traits":{"mail":"x"}}`, Integrations: `{"All":true}`},
			},
			[]string{"web|u|", "web|gone|", "web|u|"},
		},
		"nobody else": {
			"/v1/track", `{"event":"E","userId":"here","messageId":"m1"}`, `"okEvents":1`,
			[]kept{{Body: `{"event":"E","userId":"here","messageId":"m1"}`, IP: ip}},
			[]string{"web|here|"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := &forgotten{users: map[string]bool{"gone": true, "7": true}, anonymous: map[string]bool{"gone too": true}}
			h := newHub(t, func(o *Options) { o.Suppression = list })
			mustFind(t, h.send(c.path, c.body), http.StatusOK, c.answer)
			if diff := cmp.Diff(c.want, h.kept()); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.asked, list.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

const (
	browser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
	crawler = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
)

// treating returns a hub whose source "web" is as change makes it.
func treating(t *testing.T, change func(*tidegate.Source)) *hub {
	source := testSources["WK"]
	change(&source)
	return newHub(t, func(o *Options) { o.Sources = sourceMap{"WK": source} })
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	const (
		plain   = `{"event":"E","userId":"u","messageId":"m"}`
		told    = `{"event":"E","userId":"u","messageId":"m","context":{"ip":"198.51.100.77","x":1}}`
		nowhere = `{"event":"E","userId":"u","messageId":"m","context":{"ip":"0.0.0.0"}}`
		batch   = `{"batch":[{"type":"track","event":"E","userId":"u","messageId":"m"}],"context":{"x":1,"ip":"2001:db8:1:2:3:4:5:6"}}`
		item    = `{"type":"track","event":"E","userId":"u","messageId":"m"}`
		shared  = `{"x":1,"ip":"2001:db8:1:2:3:4:5:6"}`
	)
	for name, c := range map[string]struct {
		setting, path, body, from string
		want                      kept
	}{
		"kept":                        {"", "/v1/track", told, "203.0.113.9:1", kept{Body: told, IP: "203.0.113.9"}},
		"kept, said so":               {"keep", "/v1/track", told, "203.0.113.9:1", kept{Body: told, IP: "203.0.113.9"}},
		"an SDK told to say nothing":  {"", "/v1/track", nowhere, "203.0.113.9:1", kept{Body: nowhere}},
		"and its batch":               {"", "/v1/batch", `{"batch":[` + nowhere[:1] + `"type":"track",` + nowhere[1:] + `]}`, "203.0.113.9:1", kept{Body: nowhere[:1] + `"type":"track",` + nowhere[1:]}},
		"the batch told for its own":  {"", "/v1/batch", `{"batch":[` + item + `],"context":{"ip":"0.0.0.0"}}`, "203.0.113.9:1", kept{Body: item, Context: `{"ip":"0.0.0.0"}`}},
		"anonymized":                  {"anonymize", "/v1/track", told, "203.0.113.9:1", kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{"ip":"198.51.100.0","x":1}}`, IP: "203.0.113.0"}},
		"anonymized, IPv6":            {"anonymize", "/v1/batch", batch, "[2001:db8:a:b:c::1]:1", kept{Body: item, Context: `{"x":1,"ip":"2001:db8:1::"}`, IP: "2001:db8:a::"}},
		"anonymized, IPv4 in IPv6":    {"anonymize", "/v1/track", plain, "[::ffff:203.0.113.9]:1", kept{Body: plain, IP: "203.0.113.0"}},
		"anonymized, no address":      {"anonymize", "/v1/track", `{"event":"E","userId":"u","messageId":"m","context":{"ip":["home"]}}`, "pipe", kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{"ip":null}}`}},
		"dropped":                     {"drop", "/v1/track", told, "203.0.113.9:1", kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{"ip":null,"x":1}}`}},
		"dropped from the batch":      {"drop", "/v1/batch", batch, "203.0.113.9:1", kept{Body: item, Context: `{"x":1,"ip":null}`}},
		"kept in the batch":           {"", "/v1/batch", batch, "203.0.113.9:1", kept{Body: item, Context: shared, IP: "203.0.113.9"}},
		"dropped of refused ones too": {"drop", "/v1/batch", `{"batch":[` + item + `,{"type":"track","userId":"u","context":{"ip":"1.2.3.4"}}]}`, "203.0.113.9:1", kept{Body: item}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := treating(t, func(s *tidegate.Source) { s.IP = c.setting })
			mustFind(t, h.send(c.path, c.body, func(r *http.Request) { r.RemoteAddr = c.from }), http.StatusOK)
			got := h.kept()
			if diff := cmp.Diff(c.want, got[0]); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			for _, k := range got[1:] {
				if k.Body != `{"type":"track","userId":"u","context":{"ip":null}}` {
					t.Errorf("kept of the refused one: %s", k.Body)
				}
			}
		})
	}
}

func TestBots(t *testing.T) {
	t.Parallel()
	const event = `{"event":"E","userId":"u","messageId":"m"}`
	for name, c := range map[string]struct {
		setting, body, userAgent string
		want                     kept
	}{
		"kept":                    {"", event, crawler, kept{Body: event}},
		"marked by the header":    {"mark", event, crawler, kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{"isBot":true,"bot":{"name":"Googlebot"}}}`}},
		"marked by the context":   {"mark", `{"event":"E","userId":"u","context":{"userAgent":"` + crawler + `","x":{}},"messageId":"m"}`, browser, kept{Body: `{"event":"E","userId":"u","context":{"userAgent":"` + crawler + `","x":{},"isBot":true,"bot":{"name":"Googlebot"}},"messageId":"m"}`}},
		"an empty context":        {"mark", `{"event":"E","userId":"u","messageId":"m","context":{ }}`, crawler, kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{ "isBot":true,"bot":{"name":"Googlebot"}}}`}},
		"a context that is none":  {"mark", `{"event":"E","userId":"u","messageId":"m","context":7}`, crawler, kept{Body: `{"event":"E","userId":"u","messageId":"m","context":7,"context":{"isBot":true,"bot":{"name":"Googlebot"}}}`}},
		"the context has the say": {"mark", `{"event":"E","userId":"u","messageId":"m","context":{"userAgent":"` + browser + `"}}`, crawler, kept{Body: `{"event":"E","userId":"u","messageId":"m","context":{"userAgent":"` + browser + `"}}`}},
		"a person":                {"drop", event, browser, kept{Body: event}},
		"dropped":                 {"drop", event, crawler, kept{Body: `{"messageId":"m"}`, Refusal: tidegate.RefusedBot}},
		"a server's SDK":          {"drop", event, "analytics-go (version: 3.1.0)", kept{Body: event}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := treating(t, func(s *tidegate.Source) { s.Bots, s.IP = c.setting, ipDrop })
			mustFind(t, h.send("/v1/track", c.body, header("User-Agent", c.userAgent)), http.StatusOK, `"okEvents":1`)
			if diff := cmp.Diff([]kept{c.want}, h.kept()); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBotName(t *testing.T) {
	t.Parallel()
	for userAgent, want := range map[string]string{
		"": "", browser: "", crawler: "Googlebot",
		"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": "GPTBot",
		"Mozilla/5.0 (compatible; YandexBot/3.0)":                                                                       "YandexBot",
		"Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)":                           "Baiduspider",
		"facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)":                                     "facebookexternalhit",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36": "HeadlessChrome",
		"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)":                                                    "Slackbot-LinkExpanding",
		"Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 Mobile Safari/537.36":                             "",
		"Mozilla/5.0 (Linux; Android 9; CUBOT_X19; Googlebot)":                                                          "Googlebot",
		"python-requests/2.32": "", "okhttp/4.12": "", "analytics-ruby/2.4": "", "Go-http-client/2.0": "",
		"İİİİ bot\xff": "bot",
	} {
		if got := botName([]byte(userAgent)); got != want {
			t.Errorf("%s is the bot %q, want %q", userAgent, got, want)
		}
	}
}
