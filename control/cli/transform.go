package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
)

func (c *command) transformCommand() *cobra.Command {
	cmd := group("transform", "Try transformations on events")
	cmd.AddCommand(c.transformTestCommand(), c.transformRunCommand())
	return cmd
}

// transformTest is one example of transforms/NAME.test.yaml.
type transformTest struct {
	Name       string          `json:"name,omitempty"`
	Source     string          `json:"source,omitempty"`
	Given      json.RawMessage `json:"given"`
	Expect     json.RawMessage `json:"expect,omitempty"`
	Fails      string          `json:"fails,omitempty"`
	ReceivedAt string          `json:"received_at,omitempty" format:"date-time"`
	IP         string          `json:"ip,omitempty"`
}

// testedExample is what --json prints of one example.
type testedExample struct {
	Transform string   `json:"transform"`
	Name      string   `json:"name"`
	Passed    bool     `json:"passed"`
	Diff      []string `json:"diff,omitempty"`
	Logs      []string `json:"logs,omitempty"`
}

const maxTests = 10_000

func (c *command) transformTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test [NAME...]", Short: "Run the examples of the project's transformations", Args: cobra.ArbitraryArgs,
		Long: "Test runs every example of transforms/NAME.test.yaml through the transformation NAME and prints what differs: a list of `given` (an event) with `expect` (the event that it becomes, or null when it is dropped) or `fails` (the code of the dead letter). The exit code is 3 when one differs. It needs no server.",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			dir := c.projectDir(nil)
			names := args
			if len(names) == 0 {
				for _, t := range p.Transforms {
					if _, err := os.Stat(testsOf(dir, t.Name)); err == nil {
						names = append(names, t.Name)
					}
				}
			}
			results := []testedExample{}
			for _, name := range names {
				tested, err := c.testTransform(cmd.Context(), p, dir, name)
				if err != nil {
					return err
				}
				results = append(results, tested...)
			}
			return c.showTests(results)
		},
	}
}

func testsOf(dir, name string) string {
	return filepath.Join(dir, "transforms", name+project.TransformTests)
}

func (c *command) testTransform(ctx context.Context, p *project.Project, dir, name string) ([]testedExample, error) {
	file := testsOf(dir, name)
	data, err := os.ReadFile(file) //nolint:gosec // the project's own
	if err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "transform.tests", Subject: "transformation " + name, Message: "its examples cannot be read: " + err.Error(), Hint: "write " + file}
	}
	var tests []transformTest
	if err := config.DecodeYAML(file, data, &tests); err != nil {
		return nil, err
	}
	if len(tests) > maxTests {
		return nil, usage(fmt.Errorf("%s has %d examples, %d are run", file, len(tests), maxTests))
	}
	trials := make([]api.TransformTrial, len(tests))
	for i, t := range tests {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // the same in every run
		if t.ReceivedAt != "" {
			if at, err = time.Parse(time.RFC3339, t.ReceivedAt); err != nil {
				return nil, usage(fmt.Errorf("%s: example %d: received_at: %w", file, i+1, err))
			}
		}
		trials[i] = api.TransformTrial{Source: orDefault(t.Source, sourceOf(p, name)), Event: t.Given, ReceivedAt: at, RequestIP: t.IP}
	}
	got, err := c.env.Local.TryTransform(ctx, p, dir, c.data, name, trials)
	if err != nil {
		return nil, err
	}
	out := make([]testedExample, len(tests))
	for i, t := range tests {
		diff := differs(t, got[i])
		out[i] = testedExample{Transform: name, Name: orDefault(t.Name, fmt.Sprintf("example %d", i+1)), Passed: len(diff) == 0, Diff: diff, Logs: got[i].Logs}
	}
	return out, nil
}

// sourceOf is where an event comes from that does not say so: the first source that the
// transformation is for, or else of the project. Of another it would pass untouched.
func sourceOf(p *project.Project, transformation string) string {
	for _, t := range p.Transforms {
		if t.Name == transformation && len(t.Sources) > 0 {
			return t.Sources[0]
		}
	}
	if len(p.Sources) > 0 {
		return p.Sources[0].Name
	}
	return ""
}

// differs says in lines how what became of an event is not what was expected.
func differs(t transformTest, got api.ExplainedVerdict) []string {
	became := got.Fate
	if got.Code != "" {
		became += " " + got.Code + ": " + got.Reason
	}
	switch {
	case t.Fails != "":
		if got.Code != t.Fails {
			return []string{"- dead " + t.Fails, "+ " + became}
		}
		return nil
	case string(t.Expect) == "null":
		if got.Fate != "dropped" {
			return []string{"- dropped", "+ " + became}
		}
		return nil
	case len(t.Expect) == 0:
		return []string{"the example has neither expect nor fails"}
	case got.Fate != "kept":
		return []string{"- kept", "+ " + became}
	}
	want, have := map[string]string{}, map[string]string{}
	flatten(want, "", t.Expect)
	flatten(have, "", got.Event)
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(union(want, have))) {
		w, wanted := want[path]
		h, had := have[path]
		if wanted && w != h {
			lines = append(lines, fmt.Sprintf("- %s: %s", path, w))
		}
		if had && w != h {
			lines = append(lines, fmt.Sprintf("+ %s: %s", path, h))
		}
	}
	return lines
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// flatten maps the path of every scalar, and of every empty list and object, to its
// text. Numbers are compared by their values.
func flatten(out map[string]string, at string, raw json.RawMessage) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		out[at] = string(raw)
		return
	}
	flattenValue(out, at, v)
}

func flattenValue(out map[string]string, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			flattenValue(out, strings.TrimPrefix(at+"."+name, "."), inner)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		for i, inner := range v {
			flattenValue(out, fmt.Sprintf("%s[%d]", at, i), inner)
		}
		if len(v) > 0 {
			return
		}
	}
	text, err := json.Marshal(v)
	if err != nil { // it was unmarshalled
		text = []byte(err.Error())
	}
	out[at] = string(text)
}

func (c *command) showTests(results []testedExample) error {
	failed := 0
	for _, r := range results {
		if !r.Passed {
			failed++
		}
		if c.json {
			continue
		}
		mark := "ok  "
		if !r.Passed {
			mark = "FAIL"
		}
		c.say("%s %s: %s", mark, r.Transform, r.Name)
		for _, line := range append(r.Diff, prefixed("log: ", r.Logs)...) {
			c.say("       %s", oneLine(line))
		}
	}
	if c.json {
		if err := c.printJSON(results); err != nil {
			return err
		}
	}
	if len(results) == 0 {
		return &tidegate.Fault{Action: tidegate.Reject, Code: "transform.tests", Message: "the project's transformations have no examples", Hint: "write transforms/NAME.test.yaml: a list of `given` and `expect`"}
	}
	if failed > 0 {
		c.say("%d of %s failed.", failed, plural(int64(len(results)), "example"))
		return &codedError{code: ExitInvalid}
	}
	c.say("%s passed.", plural(int64(len(results)), "example"))
	return nil
}

func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = prefix + line
	}
	return out
}

func (c *command) transformRunCommand() *cobra.Command {
	var source, ip string
	cmd := &cobra.Command{
		Use: "run NAME < EVENT.json", Short: "Run one event through one transformation", Args: cobra.ExactArgs(1),
		Long: "Run reads one event from standard input and prints what the project's transformation NAME makes of it. It needs no server.",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.loadProject(nil)
			if err != nil {
				return err
			}
			event, err := io.ReadAll(io.LimitReader(c.env.Stdin, maxEventBytes+1))
			if err != nil {
				return fmt.Errorf("reading the event: %w", err)
			}
			if len(event) > maxEventBytes || !json.Valid(event) {
				return &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Message: "standard input holds no JSON object"}
			}
			trial := api.TransformTrial{Source: orDefault(source, sourceOf(p, args[0])), Event: event, ReceivedAt: c.env.Now().UTC(), RequestIP: ip}
			got, err := c.env.Local.TryTransform(cmd.Context(), p, c.projectDir(nil), c.data, args[0], []api.TransformTrial{trial})
			if err != nil {
				return err
			}
			return c.showTrial(got[0])
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the source that the event comes from; when empty the first that the transformation is for")
	cmd.Flags().StringVar(&ip, "ip", "", "the address that the request came from")
	return cmd
}

func (c *command) showTrial(v api.ExplainedVerdict) error {
	switch {
	case c.json:
		if err := c.printJSON(v); err != nil {
			return err
		}
	case v.Event != nil:
		if err := c.printJSON(v.Event); err != nil {
			return err
		}
		for _, line := range v.Logs {
			_, _ = fmt.Fprintf(c.env.Stderr, "log: %s\n", oneLine(line))
		}
	default:
		c.showVerdict(&v)
	}
	if v.Fate == "dead" {
		return &codedError{code: ExitError} // it was said
	}
	return nil
}
