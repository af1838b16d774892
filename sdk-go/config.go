package analytics

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The defaults of a Config, and the protocol's bounds.
const (
	// DefaultInterval is how long a message waits for others at most.
	DefaultInterval = 5 * time.Second
	// DefaultBatchSize is how many messages make a batch leave at once.
	DefaultBatchSize = 250
	// MaxBatchSize is the most messages that one request may carry.
	MaxBatchSize = 2500
	// DefaultBatchBytes is how long a request's body may be before compression.
	DefaultBatchBytes = 480_000
	// MaxBatchBytes is the protocol's limit for a request's body.
	MaxBatchBytes = 500_000
	// DefaultMaxMessageBytes is the protocol's limit for one message.
	DefaultMaxMessageBytes = 32_000
	// DefaultQueueBytes is how much memory waiting messages may take.
	DefaultQueueBytes = 32 << 20
	// DefaultSpoolBytes is how much disk a spool may take.
	DefaultSpoolBytes = 256 << 20
	// DefaultSpoolSync is how often a spool is made safe against a power failure.
	DefaultSpoolSync = time.Second
	// DefaultAttemptTimeout is how long one request may take.
	DefaultAttemptTimeout = 10 * time.Second
	// DefaultGiveUpAfter is how old a message may become undelivered.
	DefaultGiveUpAfter = 12 * time.Hour
)

// Config says where messages go and how. WriteKey and Endpoint are needed; every
// other field may be left zero.
type Config struct {
	// WriteKey names the source at the hub.
	WriteKey string
	// Endpoint is the hub's address, "https://events.example.com". The path
	// /v1/batch is added.
	Endpoint string

	// Interval is how long a message waits for others to share its request:
	// DefaultInterval.
	Interval time.Duration
	// BatchSize is how many messages make a batch leave at once, at most
	// MaxBatchSize: DefaultBatchSize.
	BatchSize int
	// BatchBytes bounds the body of a request before compression, at most
	// MaxBatchBytes: DefaultBatchBytes.
	BatchBytes int
	// MaxMessageBytes bounds one encoded message: DefaultMaxMessageBytes. Tidegate
	// takes up to 1 MiB, Segment 32 KB.
	MaxMessageBytes int
	// QueueBytes bounds what waits in memory: DefaultQueueBytes. Beyond it Enqueue
	// returns ErrQueueFull.
	QueueBytes int64

	// SpoolDir is a folder in which messages wait on disk instead of in memory.
	// What Enqueue accepted then outlives a process that is killed. One client
	// may use a folder at a time; it holds personal data in plain text.
	SpoolDir string
	// SpoolBytes bounds the files in SpoolDir: DefaultSpoolBytes. Beyond it
	// Enqueue returns ErrQueueFull.
	SpoolBytes int64
	// SpoolSync is how often the spool is synced, which is what a power failure
	// may cost: DefaultSpoolSync. A killed process costs nothing.
	SpoolSync time.Duration

	// AttemptTimeout bounds one request: DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// GiveUpAfter bounds the life of a message that cannot be delivered:
	// DefaultGiveUpAfter. Each message is tried at least once.
	GiveUpAfter time.Duration
	// Backoff says how long to wait after the attempt-th failure in a row, counted
	// from 0: by default 100 ms doubling to 30 s, of which half is random. A
	// Retry-After of the server counts when it is longer.
	Backoff func(attempt int) time.Duration
	// DisableCompression sends bodies as they are instead of gzipped.
	DisableCompression bool
	// Transport carries out requests: by default one of the client's own with the
	// settings of http.DefaultTransport.
	Transport http.RoundTripper

	// DefaultContext is sent once per request and holds for every message in it;
	// a message's own context wins. Its Library is set by the client.
	DefaultContext *Context
	// Callback hears what became of each message.
	Callback Callback
	// OnAttempt hears of each request, for traces and metrics.
	OnAttempt OnAttempt
	// Logger hears of trouble, never of a message's content: slog.Default().
	Logger *slog.Logger
	// Now is the clock: time.Now.
	Now func() time.Time
}

// Callback hears what became of each accepted message. Its methods are called by
// the client's own goroutine, in order, and hold up delivery while they run; they
// must not call Flush or Close. The message is as it was sent, with its MessageId
// and Timestamp; numbers in its maps are float64, as encoding/json decodes them.
type Callback interface {
	// Success is called when the server has acknowledged the message.
	Success(Message)
	// Failure is called when the message is lost: the server refused it
	// (*ServerError), it grew too old (ErrGivenUp), or the client was closed
	// (ErrClosed).
	Failure(Message, error)
}

func (c *Config) validate() error {
	endpoint, err := url.Parse(c.Endpoint)
	switch {
	case c.WriteKey == "":
		return ConfigError{"must not be empty", "WriteKey", c.WriteKey}
	case strings.Contains(c.WriteKey, ":"):
		return ConfigError{"must not contain a colon", "WriteKey", "…"}
	case c.Endpoint == "":
		return ConfigError{"must not be empty", "Endpoint", c.Endpoint}
	case err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https":
		return ConfigError{"must be an http or https address", "Endpoint", c.Endpoint}
	case endpoint.User != nil || endpoint.RawQuery != "" || endpoint.Fragment != "":
		return ConfigError{"must be without user, query and fragment", "Endpoint", endpoint.Redacted()}
	case c.BatchSize < 0 || c.BatchSize > MaxBatchSize:
		return ConfigError{"must lie between 0 and MaxBatchSize", "BatchSize", c.BatchSize}
	case c.BatchBytes < 0 || c.BatchBytes > MaxBatchBytes:
		return ConfigError{"must lie between 0 and MaxBatchBytes", "BatchBytes", c.BatchBytes}
	case c.MaxMessageBytes < 0 || c.MaxMessageBytes > 1<<20:
		return ConfigError{"must lie between 0 and 1 MiB", "MaxMessageBytes", c.MaxMessageBytes}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"QueueBytes", c.QueueBytes},
		{"SpoolBytes", c.SpoolBytes},
	} {
		if f.value < 0 {
			return ConfigError{"must not be negative", f.name, f.value}
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"Interval", c.Interval},
		{"SpoolSync", c.SpoolSync},
		{"AttemptTimeout", c.AttemptTimeout},
		{"GiveUpAfter", c.GiveUpAfter},
	} {
		if f.value < 0 {
			return ConfigError{"must not be negative", f.name, f.value}
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	or(&c.Interval, DefaultInterval)
	or(&c.BatchSize, DefaultBatchSize)
	or(&c.BatchBytes, DefaultBatchBytes)
	or(&c.MaxMessageBytes, DefaultMaxMessageBytes)
	or(&c.QueueBytes, DefaultQueueBytes)
	or(&c.SpoolBytes, DefaultSpoolBytes)
	or(&c.SpoolSync, DefaultSpoolSync)
	or(&c.AttemptTimeout, DefaultAttemptTimeout)
	or(&c.GiveUpAfter, DefaultGiveUpAfter)
	if c.Logger == nil {
		c.Logger = slog.Default() //nolint:forbidigo // what a library without a word about it logs to
	}
	if c.Now == nil {
		c.Now = time.Now //nolint:forbidigo // the edge at which the clock comes in
	}
	return c
}

func or[T comparable](field *T, standard T) { fill(field, standard) }

// batchURL is where batches go; an Endpoint that was copied with the path of
// another SDK's settings is understood.
func (c *Config) batchURL() string {
	base := strings.TrimRight(c.Endpoint, "/")
	base = strings.TrimSuffix(base, "/batch")
	base = strings.TrimSuffix(base, "/v1")
	return base + "/v1/batch"
}
