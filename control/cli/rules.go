package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
)

// explainHere explains without a server: by the rules of the project when there is one.
func (c *command) explainHere(ctx context.Context, source string, event json.RawMessage) (api.Explanation, error) {
	var p *project.Project
	if c.hasProject() {
		var err error
		if p, err = c.loadProject(nil); err != nil {
			return api.Explanation{}, err
		}
		if source == "" && len(p.Sources) > 1 {
			return api.Explanation{}, usage(fmt.Errorf("the project has %s: name one with --source", plural(int64(len(p.Sources)), "source")))
		}
		if source == "" && len(p.Sources) == 1 {
			source = p.Sources[0].Name
		}
	}
	return c.env.Local.Explain(ctx, p, c.projectDir(nil), c.data, orDefault(source, "web"), event)
}

// showVerdict says what the rules make of an event.
func (c *command) showVerdict(v *api.ExplainedVerdict) {
	if v == nil {
		return
	}
	fate := map[string]string{"kept": "The rules keep the event", "dropped": "The rules drop the event", "suppressed": "The event's person is suppressed", "dead": "The event becomes a dead letter"}[v.Fate]
	if v.Code != "" {
		fate += ": " + v.Code + ", " + v.Reason
	}
	c.say("%s.", fate)
	for _, x := range v.Violations {
		c.say("  %s (plan %s, version %d): %s", x.Action, x.Plan, x.Version, violationText(x))
	}
	if v.Route != "" {
		c.say("  It goes to the schema %s.", v.Route)
	}
	for _, line := range v.Logs {
		c.say("  log: %s", oneLine(line))
	}
	if v.Event != nil {
		c.say("  It becomes: %s", oneLine(string(v.Event)))
	}
	c.say("")
}

func violationText(x api.ExplainedViolation) string {
	if x.Path == "" {
		return fmt.Sprintf("%s: %s", x.Kind, x.Message)
	}
	return fmt.Sprintf("%s: %s %s", x.Kind, x.Path, x.Message)
}

// sample is one event of a file, with where it stands there.
type sample struct {
	line   int
	source string
	event  json.RawMessage
}

// samples reads events, one JSON object a line: as SDKs send them, or as `events tail
// --json` prints them. The name - is standard input.
func (c *command) samples(name string, each func(sample) error) (err error) {
	in := c.env.Stdin
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the person names it
		if err != nil {
			return fmt.Errorf("opening the events: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		in = f
	}
	r := bufio.NewReaderSize(in, 1<<16)
	for line := 1; ; line++ {
		text, err := readLine(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading line %d of the events: %w", line, err)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		s := sample{line: line, event: text}
		if !json.Valid(text) || text[0] != '{' {
			return &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Subject: fmt.Sprintf("%s:%d", name, line), Message: "the line is no JSON object", Hint: "write one event a line"}
		}
		var tailed struct {
			Offset string          `json:"offset"`
			Type   string          `json:"type"`
			Source string          `json:"source"`
			Event  json.RawMessage `json:"event"`
		}
		if json.Unmarshal(text, &tailed) == nil && tailed.Offset != "" && len(tailed.Event) > 0 && tailed.Event[0] == '{' {
			s.source, s.event = tailed.Source, withType(tailed.Event, tailed.Type)
		}
		if err := each(s); err != nil {
			return err
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxEventBytes {
			return nil, fmt.Errorf("it has more than %d bytes", maxEventBytes)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return line, nil
		}
		return line, err
	}
}
