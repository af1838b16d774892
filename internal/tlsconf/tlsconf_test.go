package tlsconf_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/secret"
	"github.com/tidegate/tidegate/internal/tlsconf"
)

// pair is a certificate that signed itself, and its key.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "db.example.com"}, DNSNames: []string{"db.example.com"}, NotBefore: from, NotAfter: from.AddDate(100, 0, 0), IsCA: true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", private)
}

func TestModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		s         tlsconf.Settings
		encrypted bool
		skips     bool // the library's own verification
	}{
		{"a server far away", tlsconf.Settings{Host: "db.example.com"}, true, false},
		{"this machine", tlsconf.Settings{Host: "127.0.0.1"}, false, false},
		{"this machine by name", tlsconf.Settings{Host: "localhost"}, false, false},
		{"this machine, asked for", tlsconf.Settings{Host: "::1", Mode: "verify-full"}, true, false},
		{"a tunnel", tlsconf.Settings{Host: "db.example.com", Private: true}, false, false},
		{"verify-ca", tlsconf.Settings{Host: "db.example.com", Mode: "verify-ca"}, true, true},
		{"require", tlsconf.Settings{Host: "db.example.com", Mode: "require"}, true, true},
		{"disable", tlsconf.Settings{Host: "db.example.com", Mode: "disable"}, false, false},
	} {
		got, err := tlsconf.Config(c.s)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if (got != nil) != c.encrypted || got != nil && (got.InsecureSkipVerify != c.skips || got.ServerName != c.s.Host || got.MinVersion < tls.VersionTLS12) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.s.Mode == "verify-ca" && got.VerifyConnection == nil {
			t.Errorf("%s verifies nothing", c.name)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	leaf, _ := pem.Decode([]byte(cert))
	server, err := x509.ParseCertificate(leaf.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{cert, file} {
		got, err := tlsconf.Config(tlsconf.Settings{Host: "other.example.com", Mode: "verify-ca", RootCert: root, ClientCert: cert, ClientKey: secret.New(key)})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Certificates) != 1 || got.RootCAs == nil {
			t.Errorf("%+v", got)
		}
		if err := got.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{server}}); err != nil {
			t.Errorf("its own authority is refused: %v", err)
		}
		if err := got.VerifyConnection(tls.ConnectionState{}); err == nil {
			t.Error("no certificate is taken for one")
		}
	}
	other, otherKey := pair(t)
	got, err := tlsconf.Config(tlsconf.Settings{Mode: "verify-ca", RootCert: other})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{server}}); err == nil {
		t.Error("another authority's certificate is taken")
	}
	for _, c := range []struct {
		s           tlsconf.Settings
		field, says string
	}{
		{tlsconf.Settings{Mode: "perhaps"}, "tls", `no mode "perhaps"`},
		{tlsconf.Settings{RootCert: filepath.Join(t.TempDir(), "missing")}, "root_cert", "no file that can be read"},
		{tlsconf.Settings{RootCert: "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"}, "root_cert", "no certificate"},
		{tlsconf.Settings{ClientCert: cert, ClientKey: secret.New(otherKey)}, "client_cert", "do not fit"},
	} {
		_, err := tlsconf.Config(c.s)
		f := tidegate.FaultOf(err)
		if err == nil || f.Code != "warehouse.config" || f.Action != tidegate.Halt || f.Subject != "warehouse.config."+c.field || !strings.Contains(f.Message, c.says) || f.Hint == "" {
			t.Errorf("%+v: %v", c.s, err)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("a key is in %v", err)
		}
	}
}
