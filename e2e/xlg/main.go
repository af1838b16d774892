package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/internal/loadgen"
)

func main() {
	a := flag.String("a", "", "")
	c := flag.Int("c", 32, "")
	b := flag.Int("b", 100, "")
	d := flag.Duration("d", 3*time.Second, "")
	r := flag.String("r", "x", "")
	s := flag.String("serve", "", "")
	flag.Parse()
	if *s != "" {
		panic(http.ListenAndServe(*s, loadgen.Discard()))
	}
	rep, err := loadgen.Run(context.Background(), loadgen.Options{Address: *a, WriteKey: "WK", Conns: *c, Batch: *b, Run: *r, Duration: *d, Now: time.Now})
	fmt.Println(rep.EventsPerSecond(), rep.P50, rep.P99, rep.Errors, rep.Refused, err)
}
