package analytics

import "log/slog"

// Bridge is the handler that writes to a Logger.
func Bridge(to Logger) slog.Handler { return &bridge{to: to} }
