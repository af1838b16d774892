package ingest

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// The times and sizes of the listener: a client that is slower or bigger holds
// a connection and nothing else.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second // from the end of the headers: reading, waiting for the disk, answering
	idleTimeout       = 75 * time.Second // longer than the usual proxy's 60 s, so that the proxy closes first
	maxHeaderBytes    = 32 << 10
)

// Server returns the HTTP server of the ingest surface, for Serve on a listener
// (see Bound). Whoever starts it also shuts it down. What net/http has to say
// goes to log, when there is one.
func Server(handler http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
	if log != nil {
		server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return server
}

// Bound limits the connections that ln hands out at once; further ones wait in
// the backlog until one is closed.
func Bound(ln net.Listener, connections int) net.Listener {
	return netutil.LimitListener(ln, connections)
}
