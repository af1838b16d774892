package app_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/control/app"
)

// TestConnectionsAreBounded: a connection more than the limit is served as soon as
// one is closed, and not before.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	a, err := app.Start(t.Context(), options(t, oneSource+"settings: {limits: {connections: 1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		a.Stop()
		if err := a.Wait(); err != nil {
			t.Error(err)
		}
	}()
	ask := func(c net.Conn) error {
		body := `{"event":"A","userId":"u"}`
		if _, err := fmt.Fprintf(c, "POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Basic V0s6\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			return err
		}
		var answer [12]byte
		if _, err := io.ReadFull(c, answer[:]); err != nil {
			return err
		}
		if want := fmt.Sprint("HTTP/1.1 ", http.StatusOK); string(answer[:]) != want {
			return fmt.Errorf("answered %q", answer)
		}
		return nil
	}
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Addresses.Ingest)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := dial(), dial()
	defer func() { _ = second.Close() }()
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- ask(second) }()
	select {
	case err := <-answered:
		t.Fatalf("the second was answered beside the first (%v)", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
