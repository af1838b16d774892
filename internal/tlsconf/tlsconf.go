// Package tlsconf turns the TLS settings that connections to warehouses share into
// what crypto/tls takes: how far the server is verified, the authority that signed its
// certificate, and a certificate of ours.
//
// Invariants: nothing is verified less than the settings say by name, and no text of a key
// is in an error (Invariant 9). It opens no connection. Everything here is
// safe for concurrent use.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
)

// Settings are those of one server.
type Settings struct {
	Host string
	// Mode is verify-full, verify-ca, require or disable. Empty is verify-full, or disable for a server of this machine.
	Mode string
	// Private says that nobody listens on the way to the server (a socket, a tunnel); an address of this machine says it by itself.
	Private bool
	// RootCert and ClientCert are PEM, or the file that holds it; each may be empty.
	RootCert, ClientCert string
	ClientKey            secret.Secret
}

// Config is nil for a connection that is not encrypted.
func Config(s Settings) (*tls.Config, error) {
	mode := s.Mode
	if mode == "" {
		mode = "verify-full"
		if s.Private || loopback(s.Host) {
			mode = "disable"
		}
	}
	t := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if s.RootCert != "" {
		text, err := certificates("root_cert", s.RootCert)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, Fault("root_cert", "it holds no certificate in PEM form", nil)
		}
	}
	if s.ClientCert != "" {
		text, err := certificates("client_cert", s.ClientCert)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(text, []byte(s.ClientKey.Reveal()))
		if err != nil {
			return nil, Fault("client_cert", "certificate and client_key do not fit together", nil) // the error may quote the key
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case "disable":
		return nil, nil
	case "verify-full":
	case "require":
		t.InsecureSkipVerify = true //nolint:gosec // what the user asked for by name
	case "verify-ca":
		t.InsecureSkipVerify = true //nolint:gosec // the chain is verified below, the name is not
		t.VerifyConnection = func(c tls.ConnectionState) error { return verifyChain(t.RootCAs, c) }
	default:
		return nil, Fault("tls", "there is no mode "+strconv.Quote(mode), nil)
	}
	return t, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// certificates returns the text of a setting that holds it or names its file.
func certificates(field, value string) ([]byte, error) {
	if strings.Contains(value, "-----BEGIN ") {
		return []byte(value), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, Fault(field, "it is no certificate in PEM form, and no file that can be read", err)
	}
	return text, nil
}

func verifyChain(roots *x509.CertPool, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// Fault is a setting that cannot be used; field names it below the warehouse's configuration.
func Fault(field, message string, err error) error {
	if err != nil {
		message += ": " + strings.TrimSpace(err.Error())
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.config", Subject: "warehouse.config." + field, Message: message,
		Hint: "correct " + field + " in the warehouse's configuration",
	}
}
