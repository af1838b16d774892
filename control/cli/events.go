package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/replay"
	"github.com/tidegate/tidegate/internal/retry"
)

func (c *command) eventsCommand() *cobra.Command {
	cmd := group("events", "Look at events: live, dead, once more")
	cmd.AddCommand(c.eventsTailCommand(), c.eventsStreamCommand(), c.eventsDeadCommand(), c.eventsReplayCommand(), c.eventsReconcileCommand())
	return cmd
}

func (c *command) eventsTailCommand() *cobra.Command {
	var req api.TailRequest
	var from, since string
	var once bool
	tail := &cobra.Command{
		Use: "tail", Short: "Show events as the journal takes them, and what each became", Args: cobra.NoArgs,
		Long: "Tail shows events from now on, until Ctrl-C. --from and --since begin earlier; --once stops at the journal's end. With --json each event is one JSON object on a line of its own.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.Follow = !once
			if from != "" {
				o, err := api.ParseOffset(from)
				if err != nil {
					return usage(err)
				}
				req.From = &o
			}
			if since != "" {
				at, err := c.moment("--since", since)
				if err != nil {
					return err
				}
				req.Since = at
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			err = client.Tail(cmd.Context(), req, c.showEvent)
			if req.Follow && errors.Is(err, context.Canceled) {
				return nil // Ctrl-C is its end
			}
			return err
		},
	}
	tail.Flags().StringVar(&req.Source, "source", "", "events of this source only")
	tail.Flags().StringVar(&req.Type, "type", "", "events of this type only: track, identify, page, screen, group or alias")
	tail.Flags().StringVar(&req.Event, "event", "", "track events of this name only")
	tail.Flags().StringVar(&req.User, "user", "", "events of this userId or anonymousId only")
	tail.Flags().StringVar(&req.Filter, "filter", "", "a condition in CEL, such as 'event.properties.total > 100'")
	tail.Flags().StringVar(&from, "from", "", "the first offset, PARTITION:POSITION")
	tail.Flags().StringVar(&since, "since", "", "the first arrival: a time (RFC 3339) or how long ago (10m)")
	tail.Flags().BoolVar(&req.Refused, "refused", false, "refused events only, which are kept but not loaded; 'events dead' lists all dead letters")
	tail.Flags().BoolVar(&once, "once", false, "stop at the journal's end")
	tail.Flags().IntVar(&req.Limit, "limit", 0, "at most so many events")
	return tail
}

// moment reads a time or how long ago it was.
func (c *command) moment(flag, text string) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return c.env.Now().Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usage(fmt.Errorf("%s %q is neither a time (2026-01-02T15:04:05Z) nor a duration (10m)", flag, text))
	}
	return at, nil
}

func (c *command) showEvent(e api.TailedEvent) error {
	if c.json {
		return c.printLine(e)
	}
	_, err := fmt.Fprintf(c.env.Stdout, "%s  %s  %-10s  %-8s  %s%s\n", e.ReceivedAt.UTC().Format(time.TimeOnly), e.Offset, e.Source, e.Type, oneLine(string(e.Event)), became(e))
	return err
}

// became says in a few words what an event became.
func became(e api.TailedEvent) string {
	b := e.Became
	switch {
	case e.Refusal != "" && !tidegate.Withheld(e.Refusal):
		return "  REFUSED " + e.Refusal
	case b == nil:
		return ""
	case b.State == "dead":
		return "  DEAD " + b.Code + ": " + oneLine(b.Reason)
	}
	text := strings.TrimRight("  "+b.State+" "+b.Code, " ")
	if len(b.Tables) > 0 {
		text += " → " + strings.Join(b.Tables, ", ")
	}
	if n := len(b.Violations); n > 0 {
		text += "  (" + plural(int64(n), "violation") + ")"
	}
	return text
}

// printLine prints v as one line of JSON.
func (c *command) printLine(v any) error {
	enc := json.NewEncoder(c.env.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (c *command) eventsStreamCommand() *cobra.Command {
	var from, since string
	var once bool
	cmd := &cobra.Command{
		Use: "stream NAME", Short: "Read one of the project's streams as lines of JSON", Args: cobra.ExactArgs(1),
		Long: "Stream prints the events of a stream, as programs get them from GET /v1/streams/NAME: accepted events as the project's rules leave them. It goes on until Ctrl-C, or with --once to the journal's end.",
		RunE: func(cmd *cobra.Command, args []string) error {
			req := api.StreamFrom{Follow: !once}
			if from != "" {
				o, err := api.ParseOffset(from)
				if err != nil {
					return usage(err)
				}
				req.Next = &o
			}
			if since != "" {
				var err error
				if req.Since, err = c.moment("--since", since); err != nil {
					return err
				}
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			err = client.Stream(cmd.Context(), args[0], req, func(e api.StreamEvent) error { return c.printLine(e) })
			if req.Follow && errors.Is(err, context.Canceled) {
				return nil // Ctrl-C is its end
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the first offset, PARTITION:POSITION")
	cmd.Flags().StringVar(&since, "since", "", "the first arrival: a time (RFC 3339) or how long ago (10m)")
	cmd.Flags().BoolVar(&once, "once", false, "stop at the journal's end")
	return cmd
}

func (c *command) eventsDeadCommand() *cobra.Command {
	var q api.DeadQuery
	cmd := &cobra.Command{
		Use: "dead", Short: "List dead letters and their causes", Args: cobra.NoArgs,
		Long: "Dead letters are events that were refused, broke their tracking plan or could not be loaded. Mend the cause, then `tidegate events replay --dead --yes`.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			d, err := client.DeadLetters(ctx, q)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(d)
			}
			return c.showDead(d)
		}),
	}
	cmd.Flags().StringVar(&q.Source, "source", "", "dead letters of this source only")
	cmd.Flags().StringVar(&q.Code, "code", "", "dead letters of this code only")
	cmd.Flags().IntVar(&q.Limit, "limit", 20, "at most so many letters")
	cmd.Flags().BoolVar(&q.Body, "body", false, "with what the events said")
	return cmd
}

func (c *command) showDead(d api.DeadLetters) error {
	if d.Total == 0 {
		c.say("There are no dead letters.")
		return nil
	}
	var rows [][]string
	for _, cause := range d.Causes {
		rows = append(rows, []string{strconv.FormatInt(cause.Count, 10), cause.Source, cause.Code, cause.Last.UTC().Format(time.RFC3339), cause.Reason})
	}
	if err := table(c.env.Stdout, []string{"COUNT", "SOURCE", "CODE", "LAST", "REASON"}, rows); err != nil {
		return err
	}
	if len(d.Items) == 0 {
		return nil
	}
	c.say("")
	rows = nil
	for _, l := range d.Items {
		rows = append(rows, []string{l.Offset, l.Source, l.MessageID, l.Code, orDefault(l.Body, l.Reason)})
	}
	return table(c.env.Stdout, []string{"OFFSET", "SOURCE", "MESSAGE", "CODE", "WHAT"}, rows)
}

func (c *command) eventsReconcileCommand() *cobra.Command {
	var from, to, source string
	var all bool
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Hold what came in against what became of it, hour by hour", Args: cobra.NoArgs,
		Long: "Reconcile compares three counts that are made independently: what the journal took, what the loader wrote down with the rows, and the rows that the tables hold. accepted = loaded + duplicate + waiting + dead + suppressed + dropped. It ends with 4 when there is a gap.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			p := api.ReconcilePeriod{Source: source}
			for _, f := range []struct {
				flag, text string
				at         *time.Time
			}{{"--from", from, &p.From}, {"--to", to, &p.To}} {
				if f.text == "" {
					continue
				}
				var err error
				if *f.at, err = c.moment(f.flag, f.text); err != nil {
					return err
				}
			}
			r, err := client.Reconcile(ctx, p)
			if err != nil {
				return err
			}
			if c.json {
				err = c.printJSON(r)
			} else {
				err = c.showBooks(r, all)
			}
			if err == nil && !r.Balanced {
				err = &codedError{code: ExitHeld}
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "the first hour: a time (RFC 3339) or how long ago (48h); 24h when it is not given")
	cmd.Flags().StringVar(&to, "to", "", "ends before this hour; now when it is not given")
	cmd.Flags().StringVar(&source, "source", "", "this source only")
	cmd.Flags().BoolVar(&all, "tables", false, "show tables that agree too")
	return cmd
}

func (c *command) showBooks(r api.Reconciliation, all bool) error {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	var rows [][]string
	for _, h := range r.Hours {
		rows = append(rows, []string{
			h.Hour.UTC().Format("2006-01-02 15h"), h.Source, n(h.Accepted), n(h.Loaded), n(h.Duplicates), n(h.Waiting), n(h.Dead), n(h.Suppressed), n(h.Dropped), n(h.Gap),
		})
	}
	if err := c.list("No event came in those hours.", []string{"HOUR", "SOURCE", "ACCEPTED", "LOADED", "DUPLICATE", "WAITING", "DEAD", "SUPPRESSED", "DROPPED", "GAP"}, rows); err != nil {
		return err
	}
	none := len(rows) == 0
	rows = nil
	for _, t := range r.Tables {
		if all || t.Gap != 0 {
			rows = append(rows, []string{t.Hour.UTC().Format("2006-01-02 15h"), t.Table, n(t.Booked), n(t.Found), n(t.Gap)})
		}
	}
	if len(rows) > 0 {
		c.say("")
		if err := table(c.env.Stdout, []string{"HOUR", "TABLE", "GIVEN", "HOLDS", "GAP"}, rows); err != nil {
			return err
		}
	}
	switch {
	case !r.Balanced:
		c.say("There is a gap.")
	case !none:
		c.say("Everything is accounted for.")
	}
	return nil
}

func (c *command) eventsReplayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use: "replay", Short: "Give events to the loader once more", Args: cobra.NoArgs,
		Long: `Replay reads events that the journal still holds, or dead letters, and loads them
once more: into the tables where they belong (--into live), where it changes
nothing that was right, or into a new schema beside them, which --compare holds
against the live tables.

Without --yes it counts what it would do, and does nothing. A replay runs in the
server and goes on when the server is started again; Ctrl-C stops looking at it.`,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			r, err := f.request(c)
			if err != nil {
				return err
			}
			if !f.yes {
				plan, err := client.PlanReplay(ctx, r)
				if err != nil {
					return err
				}
				return c.showReplayPlan(r, plan)
			}
			started, err := client.StartReplay(ctx, r)
			if err != nil {
				return err
			}
			return c.followReplay(ctx, client, started, f.detach)
		}),
	}
	f.bind(cmd)
	cmd.AddCommand(c.replayListCommand(), c.replayShowCommand(), c.replayCancelCommand())
	return cmd
}

// replayFlags are the flags of events replay.
type replayFlags struct {
	from, to    string
	types       string
	yes, detach bool
	r           api.ReplayRequest
}

func (f *replayFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "the first event: an offset (0:42), a time (RFC 3339) or how long ago (24h)")
	cmd.Flags().StringVar(&f.to, "to", "", "ends before this event; the journal's end when it is not given")
	cmd.Flags().StringVar(&f.r.Source, "source", "", "events of this source only")
	cmd.Flags().StringVar(&f.types, "type", "", "events of these types only, with commas between")
	cmd.Flags().StringVar(&f.r.Filter, "filter", "", "a condition in CEL, such as 'event.properties.total > 100'")
	cmd.Flags().BoolVar(&f.r.Dead, "dead", false, "dead letters only")
	cmd.Flags().StringVar(&f.r.Code, "code", "", "dead letters of this code only")
	cmd.Flags().StringVar(&f.r.Into, "into", replay.Live, "live, or the name of a new schema")
	cmd.Flags().BoolVar(&f.r.Compare, "compare", false, "compare the schema with the live tables")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "do not wait until it is done")
}

func (f *replayFlags) request(c *command) (api.ReplayRequest, error) {
	r := f.r
	for _, end := range []struct {
		flag, text string
		offset     *string
		at         *time.Time
	}{{"--from", f.from, &r.From, &r.FromTime}, {"--to", f.to, &r.To, &r.ToTime}} {
		if end.text == "" {
			continue
		}
		if _, err := api.ParseOffset(end.text); err == nil {
			*end.offset = end.text
			continue
		}
		at, err := c.moment(end.flag, end.text)
		if err != nil {
			return r, usage(fmt.Errorf("%s %q is no offset (0:42), time (2026-01-02T15:04:05Z) or duration (24h)", end.flag, end.text))
		}
		*end.at = at
	}
	if f.types != "" {
		r.Types = strings.Split(f.types, ",")
	}
	return r, nil
}

func (c *command) showReplayPlan(r api.ReplayRequest, p api.ReplayPlan) error {
	if c.json {
		return c.printJSON(p)
	}
	c.say("%d of %s from %s to %s would be replayed into %s", p.Counts.Wanted, plural(p.Counts.Read, "event"), p.From, p.To, r.Into)
	for _, source := range slices.Sorted(maps.Keys(p.Counts.Sources)) {
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(p.Counts.Sources[source])) {
			parts = append(parts, fmt.Sprintf("%d %s", p.Counts.Sources[source][kind], kind))
		}
		c.say("  %s: %s", source, strings.Join(parts, ", "))
	}
	if p.Counts.Dead > 0 {
		c.say("  of them %s", plural(p.Counts.Dead, "dead letter"))
	}
	if p.Counts.Hidden > 0 {
		c.say("  %d more are of people of whom nothing is kept", p.Counts.Hidden)
	}
	if p.Lacks {
		c.say("The journal begins at %s, %s: what came before is not in it any more.", p.Oldest, p.Since.UTC().Format(time.RFC3339))
	}
	c.say("Nothing was done; --yes does it.")
	return nil
}

const followEvery = 300 * time.Millisecond

// followReplay shows how a replay goes on until it has ended.
func (c *command) followReplay(ctx context.Context, client *api.Client, r api.Replay, detach bool) error {
	var err error
	for !detach && (r.State == "waiting" || r.State == "running") {
		if !c.json {
			_, _ = fmt.Fprintf(c.env.Stderr, "%s  %s  %d of %d\n", r.State, r.Next, r.Counts.Wanted, r.Expected)
		}
		if err := retry.Wait(ctx, followEvery); err != nil {
			return err
		}
		if r, err = client.Replay(ctx, r.ID); err != nil {
			return err
		}
	}
	return c.showReplay(r)
}

func (c *command) showReplay(r api.Replay) error {
	if c.json {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else if err := c.printReplay(r); err != nil {
		return err
	}
	switch {
	case r.State == "failed" && r.Fault != nil:
		return &tidegate.Fault{Action: tidegate.Halt, Code: r.Fault.Code, Subject: "replay " + r.ID, Message: r.Fault.Message, Hint: r.Fault.Hint}
	case r.State == "canceled":
		return &codedError{code: ExitHeld}
	}
	return nil
}

func (c *command) printReplay(r api.Replay) error {
	c.say("%s  %s  into %s: %s replayed, %d dead letters resolved of %d", r.ID, r.State, r.Request.Into, plural(r.Counts.Wanted, "event"), r.Counts.Resolved, r.Counts.Dead)
	if len(r.Diff) == 0 {
		return nil
	}
	var rows [][]string
	for _, d := range r.Diff {
		missing := "?"
		if d.Missing != nil {
			missing = strconv.FormatInt(*d.Missing, 10)
		}
		var columns []string
		for _, col := range slices.Sorted(maps.Keys(d.Columns)) {
			columns = append(columns, fmt.Sprintf("%s %d", col, d.Columns[col]))
		}
		rows = append(rows, []string{d.Table, strconv.FormatInt(d.Same, 10), strconv.FormatInt(d.Added, 10), strconv.FormatInt(d.Changed, 10), missing, strings.Join(columns, ", ")})
	}
	if err := table(c.env.Stdout, []string{"TABLE", "SAME", "ADDED", "CHANGED", "MISSING", "CHANGED COLUMNS"}, rows); err != nil {
		return err
	}
	for _, d := range r.Diff {
		for _, s := range d.Sample {
			for _, field := range slices.Sorted(maps.Keys(s.Fields)) {
				c.say("  %s %s %s: %s → %s", d.Table, s.ID, field, oneLine(s.Fields[field][0]), oneLine(s.Fields[field][1]))
			}
			if len(s.Fields) == 0 {
				c.say("  %s %s is %s", d.Table, s.ID, s.What)
			}
		}
	}
	return nil
}

func (c *command) replayListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List replays, newest first", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			list, err := client.Replays(ctx, 50)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			var rows [][]string
			for _, r := range list {
				rows = append(rows, []string{r.ID, r.State, r.From, r.To, r.Request.Into, fmt.Sprintf("%d of %d", r.Counts.Wanted, r.Expected), r.CreatedAt.UTC().Format(time.RFC3339)})
			}
			return c.list("There are no replays; `tidegate events replay` makes one.", []string{"REPLAY", "STATE", "FROM", "TO", "INTO", "EVENTS", "ASKED"}, rows)
		}),
	}
}

func (c *command) replayShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one replay and what it compared", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			r, err := client.Replay(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showReplay(r)
		}),
	}
}

func (c *command) replayCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "Stop a replay; what was replayed stays", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			r, err := client.CancelReplay(ctx, args[0])
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(r)
			}
			c.say("%s  %s", r.ID, r.State)
			return nil
		}),
	}
}
