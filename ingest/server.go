package ingest

import (
	"log/slog"
	"net/http"
	"time"
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

// Server returns the HTTP server of the ingest surface, for Serve on a
// listener of Listen. Whoever starts it also shuts it down. What net/http has to say
// goes to log, when there is one.
func Server(handler http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ConnContext: withConn,
	}
	if log != nil {
		server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return server
}
