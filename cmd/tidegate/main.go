// Command tidegate is the whole product in one binary; see control/cli for its
// commands.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/control/cli"
	"github.com/tidegate/tidegate/control/local"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err, ok := local.Worker(os.Args[1:], os.Stdin, os.Stdout, time.Now); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(cli.ExitError)
		}
		return
	}
	if err, ok := local.Probe(ctx, os.Args[1:]); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(cli.ExitError)
		}
		return
	}
	code := cli.Run(ctx, cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Environ: os.Environ(),
		Now: time.Now, Version: version, HTTP: &http.Client{}, Local: local.New(version, time.Now),
	})
	stop()
	os.Exit(code)
}
