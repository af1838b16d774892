package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/config"
)

func (c *command) serveCommand() *cobra.Command {
	var ingest, admin, sdkDir string
	level := orDefault(c.env.Getenv("TIDEGATE_LOG_LEVEL"), "info")
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the hub", Args: cobra.NoArgs,
		Long: "Serve runs the hub until it gets SIGINT or SIGTERM; then it finishes what is in flight. It applies the project folder when one is named, or is the current folder, and otherwise runs the definitions that the data folder holds. Its log goes to standard error, one JSON object a line.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return usage(fmt.Errorf("%q is no log level: debug, info, warn or error", level))
			}
			dir := ""
			if c.hasProject() {
				dir = c.projectDir(nil)
			}
			var settling sync.WaitGroup
			defer settling.Wait()
			ctx, end := context.WithCancel(cmd.Context())
			defer end()
			return c.env.Local.Serve(ctx, ServeOptions{
				Project: dir, Data: c.data, IngestAddr: ingest, AdminAddr: admin, SDKDir: sdkDir,
				Log: slog.New(slog.NewJSONHandler(c.env.Stderr, &slog.HandlerOptions{Level: l})),
				Ready: func(ingestURL, adminURL string) {
					defer settling.Go(func() { settleTwice(ctx, settle) })
					if c.json {
						_ = c.printJSON(map[string]string{"ingest_url": ingestURL, "admin_url": adminURL})
						return
					}
					c.say("Tidegate %s takes events at %s; its API is at %s (Ctrl-C ends it).", c.env.Version, ingestURL, adminURL)
				},
			})
		},
	}
	cmd.Flags().StringVar(&ingest, "ingest-addr", c.env.Getenv("TIDEGATE_INGEST_ADDR"), "where SDKs send events, HOST:PORT, instead of the project's settings.ingest_addr (TIDEGATE_INGEST_ADDR)")
	cmd.Flags().StringVar(&admin, "admin-addr", c.env.Getenv("TIDEGATE_ADMIN_ADDR"), "where the API is, HOST:PORT, instead of the project's settings.admin_addr (TIDEGATE_ADMIN_ADDR)")
	cmd.Flags().StringVar(&sdkDir, "sdk-dir", c.env.Getenv("TIDEGATE_SDK_DIR"), "a folder whose analytics.min.js is served to snippets instead of the one in the binary (TIDEGATE_SDK_DIR)")
	cmd.Flags().StringVar(&level, "log-level", level, "debug, info, warn or error (TIDEGATE_LOG_LEVEL)")
	return cmd
}

// settleAgain is when what becoming ready sets off is over: first plans, first looks for
// what to load, the collector's round that came of it.
const settleAgain = time.Second

// settleTwice settles now and once more a little later.
func settleTwice(ctx context.Context, settle func()) {
	settle()
	later := time.NewTimer(settleAgain)
	defer later.Stop()
	select {
	case <-later.C:
		settle()
	case <-ctx.Done():
	}
}

func (c *command) demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Show the whole loop on an example shop", Args: cobra.NoArgs,
		Long: "Demo starts a hub with an example shop, sends it realistic events, loads them, pushes customers to a simulated CRM, changes some customers, and shows that only those leave again. It stays up until Ctrl-C; --once ends it after the second run.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := DemoOptions{Once: once, Story: c.env.Stdout, Log: slog.New(slog.NewJSONHandler(c.env.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			if c.json {
				o.Story = io.Discard
			}
			if cmd.Flags().Changed("data") || c.env.Getenv("TIDEGATE_DATA") != "" {
				o.Data = c.data
			}
			result, err := c.env.Local.Demo(cmd.Context(), o)
			if err != nil || !c.json {
				return err
			}
			return c.printJSON(result)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the second run")
	return cmd
}

func (c *command) simulateCommand() *cobra.Command {
	var addr, options string
	var names []string
	for _, k := range c.env.Local.Destinations {
		if k.Simulate != nil {
			names = append(names, k.Name)
		}
	}
	slices.Sort(names)
	cmd := &cobra.Command{
		Use: "simulate NAME", Short: "Serve a simulator of a destination's API that remembers", Args: cobra.ExactArgs(1), ValidArgs: names,
		Long: "Simulate serves a simulator of a vendor's API, with its limits and its errors, until Ctrl-C. It prints the configuration with which a destination talks to it; the project must allow the address (settings.allow_private: [127.0.0.0/8]).\n\nKnown: " + strings.Join(names, ", "),
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.IndexFunc(c.env.Local.Destinations, func(k destinations.Kind) bool { return k.Name == args[0] && k.Simulate != nil })
			if i < 0 {
				return &tidegate.Fault{Action: tidegate.Halt, Code: "simulator.not_found", Subject: args[0], Message: "there is no such simulator", Hint: config.DidYouMean(args[0], names)}
			}
			var raw json.RawMessage
			if options != "" {
				if !json.Valid([]byte(options)) {
					return usage(fmt.Errorf("--options must be JSON"))
				}
				raw = json.RawMessage(options)
			}
			return c.simulate(cmd.Context(), c.env.Local.Destinations[i], addr, raw)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8090", "where to serve, HOST:PORT")
	cmd.Flags().StringVar(&options, "options", "", "the simulator's own options, JSON")
	return cmd
}

func (c *command) simulate(ctx context.Context, kind destinations.Kind, addr string, options json.RawMessage) error {
	sim, err := kind.Simulate(options)
	if err != nil {
		return fmt.Errorf("making the simulator of %s: %w", kind.Name, err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "listen.failed", Subject: addr, Message: err.Error(), Hint: "choose another address with --addr", Err: err}
	}
	url := "http://" + l.Addr().String()
	var cfg json.RawMessage
	if kind.SimulatorConfig != nil {
		cfg = kind.SimulatorConfig(url)
	}
	if c.json {
		err = c.printJSON(map[string]any{"url": url, "kind": kind.Name, "config": cfg})
	} else {
		c.say("%s is simulated at %s (Ctrl-C ends it).", kind.Title, url)
		if cfg != nil {
			c.say("A destination that talks to it:  {kind: %s, config: %s}", kind.Name, cfg)
		}
	}
	if err != nil {
		return err
	}
	return serveUntil(ctx, l, sim)
}

// serveUntil serves h on l until ctx ends, then waits for what is in flight.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(patient)
	}()
	if err := server.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serving: %w", err)
	}
	return <-stopped
}

func (c *command) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printJSON(api.Version{Version: c.env.Version})
			}
			c.say("tidegate %s", c.env.Version)
			return nil
		},
	}
}
