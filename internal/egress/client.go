package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/tidegate/tidegate"
)

// Defaults of Options.
const (
	DefaultTimeout          = 60 * time.Second
	DefaultMaxResponseBytes = 4 << 20
	maxRedirects            = 3
	maxHeaderBytes          = 64 << 10
)

// Options configure a client. The zero value is a safe client without metrics.
type Options struct {
	Policy
	// HTTPSOnly refuses plain http.
	HTTPSOnly bool
	// Timeout bounds a whole call, body included; DefaultTimeout when zero.
	Timeout time.Duration
	// MaxResponseBytes bounds a response body after decompression;
	// DefaultMaxResponseBytes when zero.
	MaxResponseBytes int64
	// MaxConnsPerHost bounds the connections to one host; 0 means no bound here,
	// because the callers' own concurrency bounds them.
	MaxConnsPerHost int
	// Proxy, when set, is where every request goes. Policy then judges the
	// proxy's address; judging the target's is the proxy's work.
	Proxy *url.URL
	// UserAgent is sent unless the request brings its own.
	UserAgent string
	// Name tells clients apart in the metrics: "destination crm".
	Name string
	// Meter counts and times the calls; nil for none.
	Meter metric.Meter
	// Now is the clock of the metrics; required when Meter is set.
	Now func() time.Time
}

// New returns a client that obeys o. It starts no goroutine by itself; the
// transport's idle connections live until CloseIdleConnections.
func New(o Options) *http.Client {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxResponseBytes <= 0 {
		o.MaxResponseBytes = DefaultMaxResponseBytes
	}
	if o.Meter == nil || o.Now == nil {
		o.Meter, o.Now = noop.Meter{}, func() time.Time { return time.Time{} }
	}
	transport := &http.Transport{
		DialContext:            o.Dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  o.Timeout,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		MaxConnsPerHost:        o.MaxConnsPerHost,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if o.Proxy != nil {
		transport.Proxy = http.ProxyURL(o.Proxy)
	}
	// An instrument's error only says that its name is invalid; these are constants.
	duration, err := o.Meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of outgoing HTTP requests until the headers of the answer."))
	if err != nil {
		panic(fmt.Sprintf("egress: making the instrument: %v", err))
	}
	return &http.Client{
		Transport:     &guarded{next: transport, options: o, duration: duration},
		CheckRedirect: checkRedirect,
		Timeout:       o.Timeout,
	}
}

// Dial opens a guarded connection for protocols other than HTTP: mail, databases.
func (o Options) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: o.control}
	return dialer.DialContext(ctx, network, address)
}

// control is called by the dialer with the resolved address of each attempt,
// before the connection is opened.
func (o Options) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "egress.address_refused", Message: "only TCP connections are allowed"}
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the address to connect to: %w", err)
	}
	return o.Check(a)
}

// checkRedirect follows a GET or HEAD to the same scheme, and a write only where
// the answer (307, 308) keeps its method and body on the same host: a POST that
// became a GET must not look delivered. Other redirects end at the answer that
// asked for them, which the caller classifies.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	if len(via) > maxRedirects || req.URL.Scheme != last.URL.Scheme {
		return http.ErrUseLastResponse
	}
	sameHost := req.URL.Host == first.URL.Host
	if first.Method != http.MethodGet && first.Method != http.MethodHead {
		keeps := req.Response != nil && (req.Response.StatusCode == http.StatusTemporaryRedirect || req.Response.StatusCode == http.StatusPermanentRedirect)
		if !keeps || !sameHost {
			return http.ErrUseLastResponse
		}
	}
	if !sameHost { // any header may be a credential
		kept := http.Header{}
		for _, name := range []string{"Accept", "User-Agent"} {
			if v := req.Header.Values(name); len(v) > 0 {
				kept[name] = v
			}
		}
		req.Header = kept
	}
	req.Header.Del("Referer")
	return nil
}

// guarded is the transport with the rules that are not about addresses.
type guarded struct {
	next     *http.Transport
	options  Options
	duration metric.Float64Histogram
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (g *guarded) CloseIdleConnections() { g.next.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.permit(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // nothing was read; the refusal is what counts
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	hideFromReplay(req.Header)
	if g.options.UserAgent != "" && req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", g.options.UserAgent)
	}
	start := g.options.Now()
	resp, err := g.next.RoundTrip(req)
	g.measure(req, resp, err, g.options.Now().Sub(start))
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedBody{body: resp.Body, left: g.options.MaxResponseBytes, limit: g.options.MaxResponseBytes}
	return resp, nil
}

// hideFromReplay keeps the transport from sending a write again by itself: it
// takes a request with one of these headers for safe to repeat after a
// connection broke, but only the caller knows that. It looks for the canonical
// spelling; servers do not care about the case.
func hideFromReplay(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

func (g *guarded) permit(u *url.URL) error {
	if u.Scheme == "https" || u.Scheme == "http" && !g.options.HTTPSOnly {
		return nil
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "egress.scheme_refused", Message: fmt.Sprintf("connections by %q are not allowed", u.Scheme),
		Hint: "use a URL that starts with https://",
	}
}

func (g *guarded) measure(req *http.Request, resp *http.Response, err error, took time.Duration) {
	attrs := []attribute.KeyValue{attribute.String("http.request.method", req.Method), attribute.String("server.address", req.URL.Hostname())}
	if g.options.Name != "" {
		attrs = append(attrs, attribute.String("tidegate.client", g.options.Name))
	}
	if err != nil {
		attrs = append(attrs, attribute.String("error.type", transportCode(err)))
	} else {
		attrs = append(attrs, attribute.Int("http.response.status_code", resp.StatusCode))
	}
	g.duration.Record(req.Context(), took.Seconds(), metric.WithAttributes(attrs...))
}

// limitedBody ends with an error, not with EOF, when the body is longer than
// the limit: a truncated answer must never look whole.
type limitedBody struct {
	body        io.ReadCloser
	left, limit int64
}

// Read implements io.Reader.
func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, l.tooLarge()
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1] // one more byte tells whether there is more
	}
	n, err := l.body.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return n - 1, l.tooLarge()
	}
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

// Close implements io.Closer.
func (l *limitedBody) Close() error { return l.body.Close() }

func (l *limitedBody) tooLarge() error {
	return &tidegate.Fault{Action: tidegate.Retry, Code: "egress.response_too_large", Message: fmt.Sprintf("the answer is longer than %d bytes", l.limit)}
}

// Fault turns the error of a call (http.Client.Do, or reading the body) into a
// fault. It leaves the URL out, which may hold what must not be shown, and says
// Halt only when the connection was refused by the policy and so nothing was
// sent; everything else is a Retry of which nothing is known. A context that
// is over is returned as it is.
func Fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("calling the API: %w", context.Cause(ctx))
	}
	var f *tidegate.Fault
	if errors.As(err, &f) {
		return f
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	message := map[string]string{
		"network.timeout":   "the API did not answer in time",
		"network.dns":       "the name of the API's host cannot be resolved",
		"network.connect":   "the API cannot be connected to",
		"network.tls":       "the API's TLS certificate is not accepted",
		"network.truncated": "the API's answer ended too early",
		"network.reset":     "the connection to the API broke off",
	}
	code := transportCode(err)
	return &tidegate.Fault{Action: tidegate.Retry, Code: code, Message: message[code], Err: err}
}

// transportCode names the kind of a transport error for faults and metrics.
func transportCode(err error) string {
	var (
		f    *tidegate.Fault
		dns  *net.DNSError
		op   *net.OpError
		wait net.Error
	)
	switch {
	case errors.As(err, &f):
		return f.Code
	case errors.As(err, &dns):
		return "network.dns"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return "network.timeout"
	case isTLS(err):
		return "network.tls"
	case errors.As(err, &op) && op.Op == "dial":
		return "network.connect"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "network.truncated"
	}
	return "network.reset"
}

// RetryAfter reads a Retry-After header, seconds or an HTTP date, capped at a
// day. ok is false when there is none or it cannot be read.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	const longest = 24 * time.Hour
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseFloat(v, 64); err == nil {
		if !(seconds >= 0) { // NaN too
			return 0, false
		}
		return time.Duration(min(seconds, longest.Seconds()) * float64(time.Second)), true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), longest), true
}
