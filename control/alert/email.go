package alert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/tidegate/tidegate"
)

// smtpsPort is where TLS begins with the connection; elsewhere it is asked for
// by STARTTLS, and a server on another machine must have it.
const smtpsPort = 465

func (c *Channels) email(ctx context.Context, e tidegate.AlertEmail, n Notice) error {
	host, portText, err := net.SplitHostPort(e.Server)
	port, portErr := strconv.Atoi(portText)
	if err != nil || portErr != nil {
		return halt("alert.server", fmt.Sprintf("%q is no HOST:PORT", e.Server), "write smtp.example.com:587")
	}
	msg := mail.NewMsg()
	if err := msg.From(e.From); err != nil {
		return halt("alert.from", "the sender is no mail address: "+err.Error(), "")
	}
	if err := msg.To(e.To...); err != nil {
		return halt("alert.to", "a recipient is no mail address: "+err.Error(), "")
	}
	msg.Subject(n.subject())
	msg.SetDateWithValue(n.At)
	msg.SetMessageID()
	msg.SetBodyString(mail.TypeTextPlain, n.text(plain))
	client, err := mail.NewClient(host, c.mailOptions(e, host, port)...)
	if err != nil {
		return halt("alert.server", "the mail server cannot be used: "+err.Error(), "")
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		if f := tidegate.FaultOf(err); strings.HasPrefix(f.Code, "egress.") { // the library keeps it in the chain
			return &tidegate.Fault{Action: tidegate.Retry, Code: f.Code, Subject: "mail server " + e.Server, Message: f.Message, Hint: f.Hint, Err: err}
		}
		return &tidegate.Fault{Action: tidegate.Retry, Code: "alert.refused", Subject: "mail server " + e.Server, Message: err.Error(), Hint: "look at the server's address and credentials, then `tidegate alerts test NAME`", Err: err}
	}
	return nil
}

func (c *Channels) mailOptions(e tidegate.AlertEmail, host string, port int) []mail.Option {
	auth, dial := mail.SMTPAuthAutoDiscover, c.Dial
	security := &tls.Config{ServerName: host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	policy := mail.WithTLSPolicy(mail.TLSMandatory)
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	switch {
	case port == smtpsPort || c.tlsFirst:
		// The library does not encrypt a connection that it did not open itself, and
		// then takes it for a plain one.
		auth, policy = mail.SMTPAuthPlainNoEnc, mail.WithTLSPolicy(mail.NoTLS)
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := c.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			encrypted := tls.Client(conn, security)
			if err := encrypted.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return encrypted, nil
		}
	case loopback && e.Username == "":
		policy = mail.WithTLSPolicy(mail.TLSOpportunistic)
	}
	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(tellTimeout), mail.WithTLSConfig(security), policy, mail.WithDialContextFunc(dial)}
	if e.Username != "" {
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(e.Username), mail.WithPassword(e.Password))
	}
	return options
}

func (n Notice) subject() string {
	switch {
	case n.Test:
		return "[tidegate] test of alert " + n.Alert
	case len(n.Raised) == 1:
		return "[tidegate] " + clip(n.Raised[0].line(), 120)
	case len(n.Raised) > 1:
		return fmt.Sprintf("[tidegate] %d syncs or conditions need attention", len(n.Raised))
	case len(n.Resolved) == 1:
		return "[tidegate] " + clip(n.Resolved[0].line(), 120)
	}
	return fmt.Sprintf("[tidegate] %d conditions are resolved", len(n.Resolved))
}

func halt(code, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: code, Message: message, Hint: hint}
}
