package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/app"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/egress"
)

// localClient reaches this machine only, which is where the demo lives.
func localClient() *http.Client {
	return egress.New(egress.Options{Policy: egress.Policy{AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Timeout: 30 * time.Second})
}

// send makes the requests one after the other, as clients would who wait for
// their answers, and returns how many events were acknowledged.
func (d *demo) send(ctx context.Context, list []request) (sent int64, err error) {
	client := localClient()
	defer client.CloseIdleConnections()
	total := 0
	for _, r := range list {
		total += r.events
	}
	bar := d.say.bar(total)
	begin := d.o.Now()
	for _, r := range list {
		if err := d.post(ctx, client, r); err != nil {
			return sent, err
		}
		sent += int64(r.events)
		bar(r.events)
	}
	d.say.line("%d events in %d requests, each on disk before its 200, in %v.", sent, len(list), d.o.Now().Sub(begin).Round(time.Millisecond))
	return sent, nil
}

func (d *demo) post(ctx context.Context, client *http.Client, r request) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.app.Addresses.Ingest+r.path, bytes.NewReader(r.body))
	if err != nil {
		return fmt.Errorf("building a request: %w", err)
	}
	req.SetBasicAuth(r.writeKey, "")
	req.Header.Set("Content-Type", r.contentType)
	if r.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("sending %s: %w", r.path, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("reading the answer to %s: %w", r.path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("sending %s: %s %s", r.path, resp.Status, answer)
	}
	return nil
}

// showTables prints what the events became.
func (d *demo) showTables(ctx context.Context) error {
	tables, err := d.app.Hub.Tables(ctx)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, t := range tables {
		if t.Schema == "web" || t.Schema == "orders" {
			n, err := d.number(ctx, `select count(*) from "`+t.Schema+`"."`+t.Name+`"`)
			if err != nil {
				return err
			}
			rows = append(rows, []string{t.Schema + "." + t.Name, fmt.Sprint(n), fmt.Sprint(len(t.Columns))})
		}
	}
	d.say.table([]string{"table", "rows", "columns"}, rows)
	return nil
}

// showPlan prints the first changes field by field, before anything is sent.
func (d *demo) showPlan(ctx context.Context) error {
	plan, err := d.app.Hub.SyncPlan(ctx, syncName, 5, false)
	if err != nil {
		return err
	}
	d.say.line("tidegate sync plan %s: %d added, %d changed, %d removed, %d unchanged, about %d API calls. The first of them:",
		syncName, plan.Summary.Added, plan.Summary.Changed, plan.Summary.Removed, plan.Summary.Unchanged, plan.Calls)
	var rows [][]string
	for _, c := range plan.Sample {
		for _, f := range c.Fields {
			rows = append(rows, []string{string(c.Key), f.Field, fmt.Sprint(f.Before), "→ " + fmt.Sprint(f.After)})
		}
	}
	d.say.table([]string{"key", "field", "in the CRM", "to be"}, rows)
	return nil
}

// stay switches the sync to its schedule and waits for Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	if err := d.writeProject(false); err != nil {
		return err
	}
	p, err := project.LoadDir(d.project, app.Kinds())
	if err != nil {
		return err
	}
	if _, err := d.app.Catalog.Apply(ctx, p, "demo", -1); err != nil {
		return fmt.Errorf("switching the sync to its schedule: %w", err)
	}
	d.say.title("It goes on until Ctrl-C; the sync now runs after each load")
	d.say.line("Change a customer and watch it arrive in the CRM, seconds later:\n")
	d.say.line(`  curl -u SHOP_WEB: http://%s/v1/identify -d '{"userId":"cus_0001","traits":{"email":"customer0001@shop.example","plan":"platinum"}}'`, d.app.Addresses.Ingest)
	d.say.line("\n  the CRM:        %s", d.crm.url)
	d.say.line("  events go to:   http://%s", d.app.Addresses.Ingest)
	d.say.line("  API, metrics:   http://%s/docs  http://%s/metrics", d.app.Addresses.Admin, d.app.Addresses.Admin)
	d.say.line("  SQL:            bin/tidegate query --data %s/hub 'select * from web.users limit 5'", d.o.Data)
	d.say.line("  the sync:       bin/tidegate sync status %s --data %s/hub\n", syncName, d.o.Data)
	seen := ""
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.say.line("\nStopping.")
			return nil
		case <-tick.C:
		}
		st, err := d.app.Hub.Sync(ctx, syncName)
		if errors.Is(err, context.Canceled) {
			return nil
		} else if err != nil {
			return err
		}
		if st.Last != nil && st.Last.ID != seen {
			if seen != "" && st.Last.Trigger == tidegate.TriggerAfterLoad {
				d.say.line("%s  run after load: %s, %d delivered", d.o.Now().Format(time.TimeOnly), st.Last.State, st.Last.Counts.Delivered)
			}
			seen = st.Last.ID
		}
	}
}

// teller prints the story.
type teller struct {
	out      io.Writer
	terminal bool
}

func newTeller(out io.Writer, terminal bool) *teller { return &teller{out: out, terminal: terminal} }

func (t *teller) title(text string) { t.line("\n%s\n", text) }

func (t *teller) line(format string, args ...any) {
	_, _ = fmt.Fprintf(t.out, format+"\n", args...) // a reader who left misses the story only
}

// bar returns the function that moves a progress bar; without a terminal there is none.
func (t *teller) bar(total int) func(int) {
	if !t.terminal {
		return func(int) {}
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(t.out), progressbar.OptionSetDescription("  sending"),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(40), progressbar.OptionClearOnFinish())
	return func(n int) { _ = bar.Add(n) }
}

func (t *teller) table(head []string, rows [][]string) {
	w := tabwriter.NewWriter(t.out, 2, 0, 3, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		for _, cell := range row {
			_, _ = fmt.Fprint(w, "  "+cell+"\t")
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
}

func (t *teller) run(r tidegate.Run, c *crm) {
	n := r.Counts
	t.table([]string{"read", "unchanged", "added", "changed", "removed", "delivered", "rejected", "in doubt", "state"},
		[][]string{{
			fmt.Sprint(n.Read), fmt.Sprint(n.Unchanged), fmt.Sprint(n.Added), fmt.Sprint(n.Changed), fmt.Sprint(n.Removed),
			fmt.Sprint(n.Delivered), fmt.Sprint(n.Rejected), fmt.Sprint(n.InDoubt), string(r.State),
		}})
	calls, records := c.sim.Calls()
	t.line("The CRM has seen %d API calls with %d records so far and holds %d contacts.", calls, records, len(c.sim.Records("contacts")))
}
