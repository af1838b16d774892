package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
)

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// tlsConfig is nil for a connection that is not encrypted.
func tlsConfig(cfg Config) (*tls.Config, error) {
	mode := cfg.TLS
	if mode == "" {
		mode = "verify-full"
		if loopback(cfg.Host) {
			mode = "disable"
		}
	}
	t := &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12}
	if cfg.RootCert != "" {
		text, err := certificates("root_cert", cfg.RootCert)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, configFault("root_cert", "it holds no certificate in PEM form", nil)
		}
	}
	if cfg.ClientCert != "" {
		text, err := certificates("client_cert", cfg.ClientCert)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(text, []byte(cfg.ClientKey.Reveal()))
		if err != nil {
			return nil, configFault("client_cert", "certificate and client_key do not fit together", nil) // the error may quote the key
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case "disable":
		return nil, nil
	case "verify-full":
	case "verify-ca":
		t.InsecureSkipVerify = true //nolint:gosec // the chain is verified below, the name is not
		t.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(t.RootCAs, s) }
	default:
		return nil, configFault("tls", "there is no mode "+strconv.Quote(mode), nil)
	}
	return t, nil
}

// certificates returns the text of a setting that holds it or names its file.
func certificates(field, value string) ([]byte, error) {
	if strings.Contains(value, "-----BEGIN ") {
		return []byte(value), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, configFault(field, "it is no certificate in PEM form, and no file that can be read", err)
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

func configFault(field, message string, err error) error {
	if err != nil {
		message += ": " + strings.TrimSpace(err.Error())
	}
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "warehouse.config", Subject: "warehouse.config." + field, Message: message,
		Hint: "correct " + field + " in the warehouse's configuration",
	}
}
