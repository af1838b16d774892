package analytics

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
)

// Logger is where a client logs to.
type Logger interface {
	// Logf logs what is worth knowing.
	Logf(format string, args ...any)
	// Errorf logs what went wrong.
	Errorf(format string, args ...any)
}

// StdLogger returns a Logger that writes to the standard library's.
func StdLogger(logger *log.Logger) Logger { return stdLogger{logger} }

type stdLogger struct{ logger *log.Logger }

func (l stdLogger) Logf(format string, args ...any) { l.logger.Printf("INFO: "+format, args...) }

func (l stdLogger) Errorf(format string, args ...any) { l.logger.Printf("ERROR: "+format, args...) }

func (c *Config) logger() *slog.Logger {
	to := c.Logger
	if to == nil {
		to = StdLogger(log.New(os.Stderr, "tidegate ", log.LstdFlags))
	}
	return slog.New(&bridge{to: to})
}

// bridge is a slog handler that writes lines to a Logger.
type bridge struct {
	to     Logger
	attrs  string
	prefix string
}

func (b *bridge) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (b *bridge) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	line.WriteString(b.attrs)
	r.Attrs(func(a slog.Attr) bool {
		line.WriteString(b.text(a))
		return true
	})
	if r.Level >= slog.LevelWarn {
		b.to.Errorf("%s", line.String())
	} else {
		b.to.Logf("%s", line.String())
	}
	return nil
}

func (b *bridge) text(a slog.Attr) string {
	return fmt.Sprintf(" %s%s=%v", b.prefix, a.Key, a.Value.Resolve())
}

func (b *bridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *b
	for _, a := range attrs {
		next.attrs += b.text(a)
	}
	return &next
}

func (b *bridge) WithGroup(name string) slog.Handler {
	next := *b
	if name != "" {
		next.prefix += name + "."
	}
	return &next
}
