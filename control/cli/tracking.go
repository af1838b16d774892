package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/ingest/tracking"
	"github.com/tidegate/tidegate/ingest/tracking/codegen"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

func (c *command) trackingCommand() *cobra.Command {
	cmd := group("tracking", "Hold events to tracking plans: try, propose, list violations, generate clients")
	cmd.AddCommand(c.trackingCheckCommand(), c.inferCommand(), c.violationsCommand(), c.codegenCommand())
	return cmd
}

// planNamed is the plan that is named, the source's, or the project's only one.
func planNamed(p *project.Project, name, source string) (*tracking.Plan, error) {
	var names []string
	for _, s := range p.Sources {
		if source != "" && s.Name == source && name == "" {
			name = s.TrackingPlan
		}
	}
	for _, def := range p.Plans {
		names = append(names, def.Name)
		if def.Name == name || name == "" && source == "" && len(p.Plans) == 1 {
			return tracking.New(def)
		}
	}
	switch {
	case len(names) == 0:
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "plan.not_found", Message: "the project has no tracking plan", Hint: "write plans/NAME.yaml, or have one proposed by `tidegate tracking infer`"}
	case name == "" && source != "":
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "plan.not_found", Subject: "source " + source, Message: "the project has no such source with a tracking plan", Hint: "name the plan with --plan: " + strings.Join(names, ", ")}
	case name == "":
		return nil, usage(fmt.Errorf("the project has %d tracking plans: name one with --plan (%s)", len(names), strings.Join(names, ", ")))
	}
	return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "plan.not_found", Subject: "tracking plan " + name, Message: "the project has no such plan", Hint: "it has " + strings.Join(names, ", ")}
}

// heldEvent is what --json prints of an event that breaks its plan.
type heldEvent struct {
	Line       int                      `json:"line"`
	Fate       string                   `json:"fate"`
	Violations []api.ExplainedViolation `json:"violations"`
}

func (c *command) trackingCheckCommand() *cobra.Command {
	var file, name, source string
	cmd := &cobra.Command{
		Use: "check", Short: "Hold the events of a file to a plan of the project, without a server", Args: cobra.NoArgs,
		Long: "Check reads events, one JSON object a line, as SDKs send them or as `tidegate events tail --json` prints them, and lists every violation. The exit code is 3 when there is one, so that a pipeline can hold an app's recorded events to the plan.",
		RunE: func(*cobra.Command, []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			plan, err := planNamed(p, name, source)
			if err != nil {
				return err
			}
			return c.holdEvents(plan, file)
		},
	}
	cmd.Flags().StringVar(&file, "events", "-", "the file of events; - is standard input")
	cmd.Flags().StringVar(&name, "plan", "", "the plan; the project's only one when there is one")
	cmd.Flags().StringVar(&source, "source", "", "the source whose plan it is")
	return cmd
}

func (c *command) holdEvents(plan *tracking.Plan, file string) error {
	held := []heldEvent{}
	var rows [][]string
	count := 0
	err := c.samples(file, func(s sample) error {
		v, err := holdEvent(plan, s)
		if err != nil {
			return err
		}
		count++
		if len(v.Violations) == 0 {
			return nil
		}
		one := heldEvent{Line: s.line, Fate: v.Fate.String()}
		for _, x := range v.Violations {
			one.Violations = append(one.Violations, api.ExplainedViolation(x))
			rows = append(rows, []string{strconv.Itoa(s.line), x.Event, x.Kind, x.Path, x.Message, x.Action})
		}
		held = append(held, one)
		return nil
	})
	if err != nil {
		return err
	}
	if c.json {
		if err := c.printJSON(held); err != nil {
			return err
		}
	} else if len(rows) > 0 {
		if err := table(c.env.Stdout, []string{"LINE", "EVENT", "KIND", "PATH", "MESSAGE", "ACTION"}, rows); err != nil {
			return err
		}
	}
	if len(held) > 0 {
		c.say("Violations of the plan %s in %d of %s.", plan.Name(), len(held), plural(int64(count), "event"))
		return &codedError{code: ExitInvalid}
	}
	c.say("No violation of the plan %s in %s.", plan.Name(), plural(int64(count), "event"))
	return nil
}

func holdEvent(plan *tracking.Plan, s sample) (judge.Verdict, error) {
	var d scan.Document
	if err := d.Scan(s.event, 1); err != nil {
		return judge.Verdict{}, &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Subject: fmt.Sprintf("line %d", s.line), Message: err.Error()}
	}
	ev := &tidegate.Event{Source: "file", Body: d.Raw}
	id, kind, err := shape.Peek(ev)
	if err != nil {
		return judge.Verdict{}, &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Subject: fmt.Sprintf("line %d", s.line), Message: err.Error()}
	}
	verdicts := make([]judge.Verdict, 1)
	err = tracking.Plans{"file": plan}.Judge(context.Background(), []judge.Item{{Event: ev, ID: id, Type: kind}}, verdicts) //nolint:contextcheck // it does no I/O
	return verdicts[0], err
}

func (c *command) inferCommand() *cobra.Command {
	var file, source, name, since string
	var limit int
	cmd := &cobra.Command{
		Use: "infer", Short: "Propose a plan from events that there are", Args: cobra.NoArgs,
		Long: "Infer looks at the newest events of the running server's journal, or at those of a file, and prints a plan that they fit, as YAML for plans/NAME.yaml. A property counts as required when at least ten events were seen and all of them had it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var seen tracking.Inference
			count := 0
			if file != "" {
				err := c.samples(file, func(s sample) error {
					if source == "" || s.source == "" || s.source == source {
						count++
						seen.Add(s.event)
					}
					return nil
				})
				if err != nil {
					return err
				}
			} else {
				events, err := c.newest(cmd.Context(), source, since, limit)
				if err != nil {
					return err
				}
				for _, e := range events {
					count++
					seen.Add(e)
				}
			}
			plan := seen.Plan(orDefault(name, orDefault(source, "events")))
			if c.json {
				return c.printJSON(plan)
			}
			text, err := toYAML(plan)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(c.env.Stderr, "Proposed from %s.\n", plural(int64(count), "event"))
			_, err = c.env.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "events", "", "a file of events, one a line, instead of the server's; - is standard input")
	cmd.Flags().StringVar(&source, "source", "", "events of this source only")
	cmd.Flags().StringVar(&name, "name", "", "what the plan is called; like the source when empty")
	cmd.Flags().StringVar(&since, "since", "24h", "how long ago the first of them came")
	cmd.Flags().IntVar(&limit, "limit", 10_000, "the newest so many events")
	return cmd
}

// withType is an event that says what it is: those that were sent to /v1/track and its
// like need not say it themselves.
func withType(event json.RawMessage, kind string) json.RawMessage {
	if v := scan.Value(event); kind == "" || !v.IsObject() || len(v.Member("type")) > 0 {
		return event
	}
	rest := bytes.TrimSpace(bytes.TrimSpace(event)[1:])
	out := strconv.AppendQuote([]byte(`{"type":`), kind)
	if rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...)
}

// newest are the last events that the server accepted.
func (c *command) newest(ctx context.Context, source, since string, limit int) ([]json.RawMessage, error) {
	if limit < 1 || limit > 1_000_000 {
		return nil, usage(errors.New("--limit is 1 to 1,000,000"))
	}
	ago, err := time.ParseDuration(since)
	if err != nil || ago <= 0 {
		return nil, usage(fmt.Errorf("--since %q is no duration such as 24h", since))
	}
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	var ring []json.RawMessage
	next := 0
	err = client.Tail(ctx, api.TailRequest{Source: source, Since: c.env.Now().Add(-ago), Limit: math.MaxInt32}, func(e api.TailedEvent) error {
		if e.Refusal != "" {
			return nil
		}
		event := withType(e.Event, e.Type)
		if len(ring) < limit {
			ring = append(ring, event)
			return nil
		}
		ring[next] = event
		next = (next + 1) % limit
		return nil
	})
	return ring, err
}

func (c *command) violationsCommand() *cobra.Command {
	var source string
	var limit int
	cmd := &cobra.Command{
		Use: "violations", Short: "List what breaks a source's plan, the most frequent first", Args: cobra.NoArgs,
		Long: "Violations groups the rows of the source's table tidegate_violations. The version is that of the event in the plan, 0 where the plan does not know the event. The table itself names each event by message_id and journal_offset: `tidegate query 'SELECT * FROM web.tidegate_violations'`.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.running(cmd.Context())
			if err != nil {
				return err
			}
			var p project.Project
			if client == nil {
				here, err := c.localProject()
				if err != nil {
					return err
				}
				p = *here
			} else if p, err = client.Project(cmd.Context()); err != nil {
				return err
			}
			sql, err := violationsSQL(&p, source)
			if err != nil {
				return err
			}
			out := &rowPrinter{c: c, none: "No event has broken the plan.", header: []string{"EVENT", "KIND", "PATH", "MESSAGE", "ACTION", "EVENTS", "LAST", "VERSION"}}
			var end api.End
			if client != nil {
				end, err = client.Query(cmd.Context(), api.QueryRequest{SQL: sql, Limit: int64(limit)}, out.columns, out.row)
			} else {
				end, err = c.queryFile(cmd.Context(), "", sql, int64(limit), out)
			}
			if err != nil && tidegate.FaultOf(err).Code == "sql.unknown" { // the first violation makes the table
				return out.finish(end)
			}
			if err != nil {
				return err
			}
			return out.finish(end)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the source; the only one when there is one")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many kinds of violations")
	return cmd
}

// violationsSQL counts the violations of a source by their kinds.
func violationsSQL(p *project.Project, source string) (string, error) {
	if source == "" {
		if len(p.Sources) != 1 {
			return "", usage(fmt.Errorf("the project has %s: name one with --source", plural(int64(len(p.Sources)), "source")))
		}
		source = p.Sources[0].Name
	}
	names := make([]string, len(p.Sources))
	for i, s := range p.Sources {
		names[i] = s.Name
	}
	if !slices.Contains(names, source) {
		return "", &tidegate.Fault{Action: tidegate.Halt, Code: "source.not_found", Subject: "source " + source, Message: fmt.Sprintf("the project has no source %q", source), Hint: config.DidYouMean(source, names)}
	}
	d, ok := sqltext.Find(p.Warehouse.Kind)
	if !ok {
		return "", fmt.Errorf("listing violations: there is no dialect %q", p.Warehouse.Kind)
	}
	from, err := d.Table(source, shape.ViolationsTable)
	if err != nil {
		return "", usage(err)
	}
	return string("SELECT event, kind, path, message, action, count(*) AS events, max(received_at) AS last_seen, max(plan_version) AS version FROM " + from +
		" GROUP BY event, kind, path, message, action ORDER BY events DESC, event, path"), nil
}

func (c *command) codegenCommand() *cobra.Command {
	var language, name, out string
	cmd := &cobra.Command{
		Use: "codegen", Short: "Generate a typed client from a tracking plan", Args: cobra.NoArgs,
		Long: "Codegen writes NAME.ts, a typed event map for sdk-js, or NAME.go, functions that make messages for sdk-go, from a plan of the project. The same plan gives the same file. Without --out the file is printed.",
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains(codegen.Languages(), language) {
				return usage(fmt.Errorf("there is no generator for --lang %s: use %s", language, strings.Join(codegen.Languages(), " or ")))
			}
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			plan, err := planNamed(p, name, "")
			if err != nil {
				return err
			}
			f, err := codegen.Generate(plan, language)
			if err != nil {
				return err
			}
			if out == "" && c.json {
				return c.printJSON(map[string]string{"name": f.Name, "text": string(f.Text)})
			}
			if out == "" {
				_, err = c.env.Stdout.Write(f.Text)
				return err
			}
			path := filepath.Join(out, f.Name)
			if err := os.MkdirAll(out, 0o750); err != nil {
				return fmt.Errorf("writing the client: %w", err)
			}
			if err := os.WriteFile(path, f.Text, 0o600); err != nil {
				return fmt.Errorf("writing the client: %w", err)
			}
			if c.json {
				return c.printJSON(map[string]string{"file": path})
			}
			c.say("Wrote %s.", path)
			return nil
		},
	}
	cmd.Flags().StringVar(&language, "lang", "ts", "the language: "+strings.Join(codegen.Languages(), ", "))
	cmd.Flags().StringVar(&name, "plan", "", "the plan; the project's only one when there is one")
	cmd.Flags().StringVar(&out, "out", "", "the folder to write into")
	return cmd
}
