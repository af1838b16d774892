package alert

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

// inbox remembers what an HTTP channel was told.
type inbox struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	header http.Header
	status int
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{status: http.StatusOK}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.bodies, in.header = append(in.bodies, string(body)), r.Header
		w.WriteHeader(in.status)
	}))
	t.Cleanup(in.Close)
	return in
}

func channels(in *inbox) *Channels {
	c := &Channels{
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) }, Dial: (&net.Dialer{}).DialContext,
		Lookup: func(_, name string) (string, error) {
			if name == "GONE" {
				return "", errors.New("no such variable")
			}
			return "secret of " + name, nil
		},
	}
	if in != nil {
		c.HTTP = in.Client()
	}
	return c
}

func notice() Notice {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	return Notice{
		Alert: "ops", Hub: "hub-1", At: at,
		Raised:   []State{{Alert: "ops", Sync: "crm", Condition: Failed, Raised: true, Since: at, Run: "run_1", Message: "the token has expired", Hint: "make a new one"}},
		Resolved: []State{{Alert: "ops", Sync: "ads", Condition: Late, Since: at}},
	}
}

// TestPartsOfTheHubReadWell: what they are in, and that they no longer are.
func TestPartsOfTheHubReadWell(t *testing.T) {
	t.Parallel()
	n := Notice{
		Hub:      "hub-1",
		Raised:   []State{{Sync: "the journal", Condition: Journal, Raised: true, Message: "events are answered 503", Hint: "free space"}},
		Resolved: []State{{Sync: "the loader", Condition: Loading}, {Sync: "the journal", Condition: Journal}},
	}
	const want = "Needs attention on hub-1\n• the journal refuses events: events are answered 503\n   free space\nResolved on hub-1\n• the loader is no longer behind\n• the journal is no longer refusing events\n"
	if got := n.text(plain); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := n.Raised[0].severity(); got != "critical" {
		t.Errorf("the severity of refused events is %s", got)
	}
}

func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	err := channels(in).Tell(t.Context(), tidegate.Alert{Name: "ops", Webhook: &tidegate.AlertWebhook{URL: in.URL, Secret: "${env:KEY}"}}, notice())
	if err != nil {
		t.Fatal(err)
	}
	var got Notice
	if err := json.Unmarshal([]byte(in.bodies[0]), &got); err != nil || got.Raised[0].Sync != "crm" || got.Resolved[0].Condition != Late {
		t.Errorf("%v %+v", err, got)
	}
	mac := hmac.New(sha256.New, []byte("secret of KEY"))
	mac.Write([]byte("1800000000." + in.bodies[0]))
	if want := "t=1800000000,v1=" + hex.EncodeToString(mac.Sum(nil)); in.header.Get(SignatureHeader) != want {
		t.Errorf("signature %q, want %q", in.header.Get(SignatureHeader), want)
	}
}

func TestSlackReadsWell(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	if err := channels(in).Tell(t.Context(), tidegate.Alert{Name: "ops", Slack: &tidegate.AlertSlack{URL: in.URL}}, notice()); err != nil {
		t.Fatal(err)
	}
	var got struct{ Text string }
	if err := json.Unmarshal([]byte(in.bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	const want = "*Needs attention on hub-1*\n• sync crm failed: the token has expired\n   make a new one\n*Resolved on hub-1*\n• sync ads is no longer late\n"
	if got.Text != want {
		t.Errorf("got\n%s\nwant\n%s", got.Text, want)
	}
}

func TestPagerDutyOpensAndClosesOneIncident(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	in.status = http.StatusAccepted
	c, a := channels(in), tidegate.Alert{Name: "ops", PagerDuty: &tidegate.AlertPagerDuty{RoutingKey: "${env:PD}", URL: in.URL}}
	n := notice()
	if err := c.Tell(t.Context(), a, n); err != nil {
		t.Fatal(err)
	}
	ended := n.Raised[0]
	ended.Raised = false
	n.Raised, n.Resolved = nil, []State{ended}
	if err := c.Tell(t.Context(), a, n); err != nil {
		t.Fatal(err)
	}
	type event struct {
		RoutingKey  string `json:"routing_key"`
		EventAction string `json:"event_action"`
		DedupKey    string `json:"dedup_key"`
		Payload     struct{ Summary, Source, Severity string }
	}
	events := make([]event, len(in.bodies))
	for i, body := range in.bodies {
		if err := json.Unmarshal([]byte(body), &events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if len(events) != 3 || events[0].EventAction != "trigger" || events[2].EventAction != "resolve" || events[0].DedupKey != events[2].DedupKey || events[0].DedupKey == events[1].DedupKey {
		t.Errorf("%+v", events)
	}
	if p := events[0].Payload; events[0].RoutingKey != "secret of PD" || p.Severity != "error" || p.Source != "hub-1" || p.Summary != "sync crm failed: the token has expired" {
		t.Errorf("%+v", events[0])
	}
}

func TestWhatAChannelRefusesIsAnErrorWithoutItsSecret(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	in.status = http.StatusForbidden
	for name, c := range map[string]struct {
		alert tidegate.Alert
		code  string
	}{
		"refused":    {tidegate.Alert{Slack: &tidegate.AlertSlack{URL: in.URL + "/T0/hush"}}, "alert.refused"},
		"no secret":  {tidegate.Alert{PagerDuty: &tidegate.AlertPagerDuty{RoutingKey: "${env:GONE}"}}, ""},
		"no channel": {tidegate.Alert{}, "alert.channel"},
		"no URL":     {tidegate.Alert{Slack: &tidegate.AlertSlack{URL: "https://hush\x00"}}, "alert.address"},
		"no server":  {tidegate.Alert{Email: &tidegate.AlertEmail{To: []string{"a@b.example"}, From: "c@d.example", Server: "smtp"}}, "alert.server"},
		"no sender":  {tidegate.Alert{Email: &tidegate.AlertEmail{To: []string{"a@b.example"}, From: "cd", Server: "smtp:25"}}, "alert.from"},
	} {
		err := channels(in).Tell(t.Context(), c.alert, notice())
		if err == nil || c.code != "" && tidegate.FaultOf(err).Code != c.code || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mailServer is an SMTP server that remembers one message.
type mailServer struct {
	net.Listener
	cert     tls.Certificate
	tlsFirst bool
	said     chan string // the transcript, when the client has gone
}

func newMailServer(t *testing.T, tlsFirst bool) *mailServer {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{Listener: l, cert: web.TLS.Certificates[0], tlsFirst: tlsFirst, said: make(chan string, 1)}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return s
}

func (s *mailServer) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(s.cert.Certificate[0])
	if err == nil {
		pool.AddCert(leaf)
	}
	return pool
}

func (s *mailServer) serve() {
	conn, err := s.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	var said strings.Builder
	defer func() { s.said <- said.String() }()
	config := &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}
	secure := s.tlsFirst
	if secure {
		conn = tls.Server(conn, config)
	}
	in := bufio.NewReader(conn)
	say := func(line string) { _, _ = fmt.Fprint(conn, line+"\r\n") }
	say("220 mail ready")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.Fields(line + " x")[0])
		_, _ = fmt.Fprintf(&said, "tls=%t %s", secure, line)
		switch verb {
		case "EHLO":
			say("250-mail")
			if !secure {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go")
			conn = tls.Server(conn, config)
			in, secure = bufio.NewReader(conn), true
		case "AUTH":
			say("235 ok")
		case "DATA":
			say("354 go on")
			for line != ".\r\n" && err == nil {
				line, err = in.ReadString('\n')
				said.WriteString(line)
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		tlsFirst           bool
		username, password string
	}{
		{"starttls with a password", false, "me", "${env:MAIL}"},
		{"tls from the start", true, "me", "${env:MAIL}"},
		{"a relay on this machine", false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newMailServer(t, c.tlsFirst)
			ch := channels(nil)
			ch.RootCAs, ch.tlsFirst = s.roots(), c.tlsFirst
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			a := tidegate.Alert{Name: "ops", Email: &tidegate.AlertEmail{To: []string{"ops@example.com", "boss@example.com"}, From: "hub@example.com", Server: s.Addr().String(), Username: c.username, Password: c.password}}
			if err := ch.Tell(ctx, a, notice()); err != nil {
				t.Fatal(err)
			}
			said := <-s.said
			for _, want := range []string{"RCPT TO:<ops@example.com>", "RCPT TO:<boss@example.com>", "Subject: [tidegate] sync crm failed: the token has expired", "make a new one", "tls=true MAIL FROM:<hub@example.com>"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in\n%s", want, said)
				}
			}
			if c.username != "" && (!strings.Contains(said, "tls=true AUTH") || strings.Contains(said, "tls=false AUTH")) {
				t.Errorf("the password did not go encrypted:\n%s", said)
			}
		})
	}
}

// TestEmailOfAPortThatIsNotTaken: what the rules of connections say reaches whoever reads it.
func TestEmailOfAPortThatIsNotTaken(t *testing.T) {
	t.Parallel()
	c := &Channels{Now: time.Now, Dial: egress.Options{Policy: egress.Policy{AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Ports: []uint16{25, 587}}}.Dial}
	a := tidegate.Alert{Name: "ops", Email: &tidegate.AlertEmail{To: []string{"ops@example.com"}, From: "hub@example.com", Server: "127.0.0.1:9925"}}
	f := tidegate.FaultOf(c.Tell(t.Context(), a, Notice{Test: true}))
	if f == nil || f.Code != "egress.port_refused" || f.Hint != "use one of the ports 25, 587" || f.Subject != "mail server 127.0.0.1:9925" {
		t.Errorf("%+v", f)
	}
}
