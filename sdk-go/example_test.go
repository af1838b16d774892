package analytics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	analytics "github.com/tidegate/tidegate/sdk-go"
)

// listen is a stand-in for a hub: it prints the messages that come.
func listen() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Batch []struct {
				Type, Event, UserID, AnonymousID, GroupID string
				Properties, Traits, Context, Integrations json.RawMessage
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fmt.Println(err)
		}
		for _, e := range body.Batch {
			fmt.Print(e.Type)
			for _, text := range []string{e.Event, e.UserID, e.AnonymousID, e.GroupID, string(e.Properties), string(e.Traits), string(e.Context), string(e.Integrations)} {
				if text != "" {
					fmt.Print(" ", text)
				}
			}
			fmt.Println()
		}
	}))
}

// config is what the examples share: a stand-in for a hub instead of your own.
func config(endpoint string) analytics.Config {
	return analytics.Config{WriteKey: "WK", Endpoint: endpoint, DisableCompression: true}
}

func Example() {
	hub := listen()
	defer hub.Close()

	client, err := analytics.New(analytics.Config{
		WriteKey:           "WK",
		Endpoint:           hub.URL, // "https://events.example.com"
		DisableCompression: true,    // so that this example can print what comes
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed", Properties: analytics.NewProperties().SetRevenue(12.5)})
	if err != nil {
		fmt.Println(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: track Order Completed u1 {"revenue":12.5}
}

func ExampleNew() {
	_, err := analytics.New(analytics.Config{WriteKey: "WK", Endpoint: "events.example.com"})
	fmt.Println(err)
	// Output: analytics.Config.Endpoint: must be an http or https address (events.example.com)
}

func ExampleClient_Enqueue() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, message := range []analytics.Message{
		analytics.Identify{UserId: "u1", Traits: analytics.NewTraits().SetEmail("ada@example.com")},
		analytics.Page{AnonymousId: "an-1", Name: "Start", Properties: analytics.NewProperties().SetPath("/")},
		analytics.Screen{UserId: "u1", Name: "Cart"},
		analytics.Group{UserId: "u1", GroupId: "g1", Traits: analytics.Traits{"plan": "enterprise"}},
		analytics.Alias{PreviousId: "an-1", UserId: "u1"},
		analytics.Track{UserId: "u1"}, // has no Event
	} {
		switch err := client.Enqueue(message); {
		case errors.Is(err, analytics.ErrQueueFull):
			fmt.Println("not accepted: the hub is away and the queue is full")
		case err != nil:
			fmt.Println("not accepted:", err)
		}
	}
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// not accepted: analytics.Track.Event: must not be empty
	// identify u1 {"email":"ada@example.com"}
	// page an-1 {"path":"/"}
	// screen u1
	// group u1 g1 {"plan":"enterprise"}
	// alias u1
}

func ExampleClient_EnqueueContext() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := analytics.WithUserId(context.Background(), "u1") // once per request
	if err := client.EnqueueContext(ctx, analytics.Track{Event: "Cart Viewed"}); err != nil {
		fmt.Println(err)
	}
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: track Cart Viewed u1
}

func ExampleClient_Flush() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(context.Background())
	if err := client.Enqueue(analytics.Track{UserId: "u1", Event: "Job Done"}); err != nil {
		fmt.Println(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := client.Flush(ctx); err != nil { // at the end of a function that may be frozen, for instance
		fmt.Println(err)
	}
	fmt.Println("delivered:", client.Stats().Delivered)
	// Output:
	// track Job Done u1
	// delivered: 1
}

func ExampleClient_Close() {
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer away.Close()
	folder, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)

	settings := config(away.URL)
	settings.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	settings.SpoolDir = filepath.Join(folder, "events")
	client, err := analytics.New(settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed"}); err != nil {
		fmt.Println(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(client.Close(ctx))

	// The next start finds it.
	hub := listen()
	defer hub.Close()
	settings.Endpoint = hub.URL
	if client, err = analytics.New(settings); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(client.Close(context.Background()))
	// Output:
	// closing: 1 message stays in the spool: context deadline exceeded
	// track Order Completed u1
	// <nil>
}

func ExampleClient_Stats() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println("queued:", client.Stats().Queued)
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("queued:", client.Stats().Queued)
	// Output:
	// queued: 1
	// track Order Completed u1
	// queued: 0
}

func ExampleMiddleware() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	shop := http.NewServeMux()
	shop.HandleFunc("/cart", func(_ http.ResponseWriter, r *http.Request) {
		if err := client.EnqueueContext(r.Context(), analytics.Track{Event: "Cart Viewed"}); err != nil {
			fmt.Println(err)
		}
	})
	handler := analytics.Middleware(analytics.MiddlewareConfig{
		UserId: func(r *http.Request) string { return r.Header.Get("X-Signed-In") }, // from your session
	})(shop)

	r := httptest.NewRequest(http.MethodGet, "/cart", nil)
	r.Header.Set("Cookie", "ajs_anonymous_id=an-1")
	r.Header.Set("X-Signed-In", "u1")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: track Cart Viewed u1 an-1 {"page":{"path":"/cart"},"ip":"192.0.2.1"}
}

func ExampleNewIntegrations() {
	hub := listen()
	defer hub.Close()
	client, err := analytics.New(config(hub.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = client.Enqueue(analytics.Track{
		UserId: "u1", Event: "Order Completed",
		Integrations: analytics.NewIntegrations().DisableAll(),
	})
	if err != nil {
		fmt.Println(err)
	}
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: track Order Completed u1 {"All":false}
}

// losses is a Callback that tells of what was lost.
type losses struct{}

func (losses) Success(analytics.Message) {}

func (losses) Failure(message analytics.Message, err error) {
	if track, ok := message.(analytics.Track); ok {
		fmt.Printf("lost %s: %v\n", track.Event, err)
	}
}

func ExampleCallback() {
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":"source.unknown_key","message":"no source has this write key"}`)
	}))
	defer hub.Close()
	settings := config(hub.URL)
	settings.Callback = losses{}
	settings.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	client, err := analytics.New(settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(client.Close(context.Background()))
	// Output:
	// lost Order Completed: analytics: the server answered 401, source.unknown_key: no source has this write key
	// closing: 1 message was not delivered, the last because: analytics: the server answered 401, source.unknown_key: no source has this write key
}

func ExampleOnAttempt() {
	hub := listen()
	defer hub.Close()
	settings := config(hub.URL)
	settings.OnAttempt = func(ctx context.Context, a analytics.Attempt) (context.Context, func(analytics.AttemptResult)) {
		// ctx, span := tracer.Start(ctx, "deliver events")
		fmt.Println("attempt", a.Number, "with", a.Messages, "messages")
		return ctx, func(r analytics.AttemptResult) {
			// span.End()
			fmt.Println("status", r.Status)
		}
	}
	client, err := analytics.New(settings)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := client.Enqueue(analytics.Track{UserId: "u1", Event: "Order Completed"}); err != nil {
		fmt.Println(err)
	}
	if err := client.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// attempt 0 with 1 messages
	// track Order Completed u1
	// status 200
}
