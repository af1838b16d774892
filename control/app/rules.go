package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/loader/shape"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/ingest/transform"
)

// judged asks the rules about one event, and returns it as they leave it. The verdict is
// nil when there are no rules that say anything of it.
func judged(ctx context.Context, rules judge.Judge, ev tidegate.Event) (tidegate.Event, *api.ExplainedVerdict, error) {
	id, kind, err := shape.Peek(&ev)
	if err != nil {
		return ev, nil, nil //nolint:nilerr // whoever shapes it says so
	}
	verdicts := make([]judge.Verdict, 1)
	if err := rules.Judge(ctx, []judge.Item{{Event: &ev, ID: id, Type: kind}}, verdicts); err != nil {
		return ev, nil, fmt.Errorf("judging the event: %w", err)
	}
	v := verdicts[0]
	if v.Fate == judge.Keep && v.Event == nil && v.Route == "" && len(v.Violations) == 0 {
		return ev, nil, nil
	}
	out := explainedVerdict(v)
	if v.Event != nil {
		ev.Body, ev.Context, ev.Integrations = v.Event.Body, v.Event.Context, v.Event.Integrations
	}
	if v.Route != "" {
		ev.Source = v.Route
	}
	return ev, out, nil
}

func explainedVerdict(v judge.Verdict) *api.ExplainedVerdict {
	out := &api.ExplainedVerdict{Fate: v.Fate.String(), Code: v.Code, Reason: v.Reason, Route: v.Route}
	for _, x := range v.Violations {
		out.Violations = append(out.Violations, api.ExplainedViolation(x))
	}
	if v.Event != nil {
		out.Event = append(json.RawMessage(nil), v.Event.Body...)
	}
	return out
}

// offlineRules compiles the rules of p, whose folder is dir, without a hub; done ends
// what they started. Secrets are resolved in this process.
func offlineRules(p *project.Project, dir string, known secrets) (rules judge.Judge, done func() error, err error) {
	j := &judges{workers: transformWorkers(slog.New(slog.DiscardHandler)), dir: dir, secrets: known}
	if p == nil {
		return judge.Chain(nil), j.close, nil
	}
	chain, err := j.compile(p)
	return chain, j.close, err
}

// TryTransform runs events through the transformation of p called name, or through all
// when it is empty. p lies in dir, and the store of data has its secrets.
func TryTransform(ctx context.Context, p *project.Project, dir, data, name string, trials []api.TransformTrial) (out []api.ExplainedVerdict, err error) {
	defs := p.Transforms
	if name != "" {
		defs = nil
		for _, t := range p.Transforms {
			if t.Name == name {
				t.Disabled = false
				defs = []tidegate.Transform{t}
			}
		}
		if defs == nil {
			return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "transform.not_found", Subject: "transformation " + name, Message: "the project has no such transformation", Hint: "write transforms/" + name + ".yaml or .js"}
		}
	}
	j := &judges{workers: transformWorkers(slog.New(slog.DiscardHandler)), dir: dir, secrets: fileSecrets(data, time.Now)}
	defer func() { _ = j.close() }() // processes that nobody waits for
	rules, err := transform.New(defs, transform.Options{Secret: j.secrets.resolve, Geo: j.openPlaces, Workers: j.workers, Libraries: transform.LibrariesOf(p.Libraries)})
	if err != nil {
		return nil, err
	}
	items := make([]judge.Item, len(trials))
	for i, t := range trials {
		var d scan.Document
		if err := d.Scan(t.Event, 1); err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Subject: fmt.Sprintf("event %d", i+1), Message: err.Error()}
		}
		ev := &tidegate.Event{Source: t.Source, Body: d.Raw, ReceivedAt: t.ReceivedAt, RequestIP: t.RequestIP}
		id, kind, err := shape.Peek(ev)
		if err != nil {
			return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "event.invalid", Subject: fmt.Sprintf("event %d", i+1), Message: err.Error()}
		}
		items[i] = judge.Item{Event: ev, ID: id, Type: kind}
	}
	tried, err := rules.Try(ctx, items)
	if err != nil {
		return nil, err
	}
	for i, t := range tried {
		v := explainedVerdict(t.Verdict)
		v.Logs = t.Logs
		if v.Event == nil && t.Verdict.Fate == judge.Keep {
			whole, _ := edit.Open(scan.Value(items[i].Event.Body))
			v.Event = whole.Append(nil)
		}
		out = append(out, *v)
	}
	return out, nil
}
