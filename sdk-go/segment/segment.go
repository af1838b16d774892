package analytics

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	tidegate "github.com/tidegate/tidegate/sdk-go"
)

// What follows is the package above under the names that programs know.

type (
	// Message is one of the six types below.
	Message = tidegate.Message
	// Alias says that two identifiers are one user.
	Alias = tidegate.Alias
	// Group says that a user belongs to a group.
	Group = tidegate.Group
	// Identify says who a user is.
	Identify = tidegate.Identify
	// Page says that a user saw a page.
	Page = tidegate.Page
	// Screen says that a user saw a screen.
	Screen = tidegate.Screen
	// Track says that a user did something.
	Track = tidegate.Track
	// Properties are the details of a Track, Page or Screen.
	Properties = tidegate.Properties
	// Product is one line of an order.
	Product = tidegate.Product
	// Traits are what is known of a user or group.
	Traits = tidegate.Traits
	// Integrations say which destinations a message may go to.
	Integrations = tidegate.Integrations
	// Context is the surroundings of a message.
	Context = tidegate.Context
	// AppInfo is the app that sends.
	AppInfo = tidegate.AppInfo
	// CampaignInfo is the campaign that brought the user.
	CampaignInfo = tidegate.CampaignInfo
	// DeviceInfo is the user's device.
	DeviceInfo = tidegate.DeviceInfo
	// LibraryInfo is the library that sends.
	LibraryInfo = tidegate.LibraryInfo
	// LocationInfo is where the user is.
	LocationInfo = tidegate.LocationInfo
	// NetworkInfo is the user's network.
	NetworkInfo = tidegate.NetworkInfo
	// OSInfo is the user's operating system.
	OSInfo = tidegate.OSInfo
	// PageInfo is the page that the user is on.
	PageInfo = tidegate.PageInfo
	// ReferrerInfo is what led the user here.
	ReferrerInfo = tidegate.ReferrerInfo
	// ScreenInfo is the user's screen.
	ScreenInfo = tidegate.ScreenInfo
	// Callback hears what became of each message.
	Callback = tidegate.Callback
	// ConfigError says which field of a Config cannot be used.
	ConfigError = tidegate.ConfigError
	// FieldError says which field of a message cannot be sent.
	FieldError = tidegate.FieldError
)

// NewProperties returns an empty map to chain Set calls on.
func NewProperties() Properties { return tidegate.NewProperties() }

// NewTraits returns an empty map to chain Set calls on.
func NewTraits() Traits { return tidegate.NewTraits() }

// NewIntegrations returns an empty map to chain calls on.
func NewIntegrations() Integrations { return tidegate.NewIntegrations() }

// Version is the version of this module.
const Version = tidegate.Version

const (
	// DefaultEndpoint is where New sends: a hub on this machine.
	DefaultEndpoint = "http://localhost:8080"
	// DefaultInterval is how long a message waits for others at most.
	DefaultInterval = tidegate.DefaultInterval
	// DefaultBatchSize is how many messages make a batch leave at once.
	DefaultBatchSize = tidegate.DefaultBatchSize
)

var (
	// ErrClosed is returned by a client that was closed.
	ErrClosed = tidegate.ErrClosed
	// ErrTooManyRequests is what Enqueue returns when the queue is full. Segment's
	// client would wait there.
	ErrTooManyRequests = tidegate.ErrQueueFull
	// ErrMessageTooBig is returned by Enqueue for a message of more than 32,000 bytes.
	ErrMessageTooBig = tidegate.ErrMessageTooBig
)

// Client is what New and NewWithConfig return.
type Client interface {
	io.Closer

	// Enqueue accepts a message for delivery or says why not. It does not wait.
	Enqueue(Message) error
}

// Config are the options of Segment's client. The zero value of each is its default.
type Config struct {
	Endpoint       string                  // DefaultEndpoint
	Interval       time.Duration           // DefaultInterval
	Transport      http.RoundTripper       // one of the client's own
	Logger         Logger                  // os.Stderr
	Callback       Callback                // hears what became of each message
	BatchSize      int                     // DefaultBatchSize
	Verbose        bool                    // log every request
	DefaultContext *Context                // holds for every message
	RetryAfter     func(int) time.Duration // the wait after the nth failure in a row

	// CloseTimeout bounds Close, which has no context here: 30 seconds.
	CloseTimeout time.Duration
}

// New returns a client that sends to the address in the environment variable
// TIDEGATE_ENDPOINT, or to DefaultEndpoint. It panics when that address or the
// write key cannot be used, because it has no error to return.
func New(writeKey string) Client {
	c, err := NewWithConfig(writeKey, Config{Endpoint: os.Getenv("TIDEGATE_ENDPOINT")})
	if err != nil {
		panic(err)
	}
	return c
}

// NewWithConfig returns a client, or a ConfigError.
func NewWithConfig(writeKey string, config Config) (Client, error) {
	if config.Endpoint == "" {
		config.Endpoint = DefaultEndpoint
	}
	if config.CloseTimeout <= 0 {
		config.CloseTimeout = 30 * time.Second
	}
	logger := config.logger()
	full := tidegate.Config{
		WriteKey: writeKey, Endpoint: config.Endpoint, Interval: config.Interval, Transport: config.Transport, Callback: config.Callback,
		BatchSize: config.BatchSize, DefaultContext: config.DefaultContext, Backoff: config.RetryAfter, Logger: logger,
	}
	if config.Verbose {
		full.OnAttempt = tell(logger)
	}
	inner, err := tidegate.New(full)
	if err != nil {
		return nil, err
	}
	return &client{inner, config.CloseTimeout}, nil
}

type client struct {
	inner   *tidegate.Client
	timeout time.Duration
}

func (c *client) Enqueue(m Message) error { return c.inner.Enqueue(m) }

// Close delivers what is queued, for at most Config.CloseTimeout.
func (c *client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	return c.inner.Close(ctx)
}

// tell logs every request, for Verbose.
func tell(logger *slog.Logger) tidegate.OnAttempt {
	return func(ctx context.Context, a tidegate.Attempt) (context.Context, func(tidegate.AttemptResult)) {
		return ctx, func(r tidegate.AttemptResult) {
			logger.Info("request", "messages", a.Messages, "bytes", a.Bytes, "attempt", a.Number, "status", r.Status, "took", r.Duration)
		}
	}
}
