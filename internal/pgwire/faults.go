package pgwire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
	"golang.org/x/crypto/ssh"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/sqlcheck"
	"github.com/tidegate/tidegate/internal/turns"
)

// ConnectionLost is the fault of a connection that broke.
func ConnectionLost(err error) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.connection", Message: "the connection broke: " + Redacted(err), Err: err}
}

// Redacted is the text of an error of the network, in one line.
func Redacted(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// Lost says whether err is about the connection, so that nobody knows what the server did.
func Lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08")
	}
	return err != nil
}

// connectError says what it means that no connection could be had.
func connectError(ctx context.Context, err error, classify Classify) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("connecting to the warehouse: %w", cause)
	}
	if errors.Is(err, puddle.ErrClosedPool) {
		return turns.ErrClosed
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return classify(pg, "", "")
	}
	f := &tidegate.Fault{Action: tidegate.Retry, Code: "warehouse.connection", Message: "the server cannot be reached: " + Redacted(err), Hint: "check host, port and the network between", Err: err}
	var (
		unknown   x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verifying *tls.CertificateVerificationError
		notFound  *net.DNSError
		own       *tidegate.Fault
		forwarded *ssh.OpenChannelError
	)
	switch {
	case errors.As(err, &own): // of the tunnel
		return own
	case errors.As(err, &forwarded):
		f.Hint = "the SSH server lets us in and cannot reach the server: correct host and port as they are seen from there, and let it forward (AllowTcpForwarding)"
	case errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verifying):
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.tls", "set root_cert to the certificate that the server's comes from, and host to the name in it"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		f.Action, f.Code, f.Hint = tidegate.Halt, "warehouse.tls", "switch TLS on at the server, or set tls: disable where the network is trusted"
	case errors.As(err, &notFound) && notFound.IsNotFound:
		f.Hint = "the name of the host is not known: correct it"
	}
	return f
}

// Mark shows the line of a statement in which position (in characters, from 1) lies, as the server's own client does.
func Mark(sql string, position int) string {
	if position < 1 || position > utf8.RuneCountInString(sql)+1 {
		return ""
	}
	at := len(sql)
	for i := range sql {
		if position--; position == 0 {
			at = i
			break
		}
	}
	return sqlcheck.Excerpt(sql, at)
}
