package api

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/runner"
)

func (s *server) storePlan(ctx context.Context, in *SyncAddress) (*body[tidegate.Run], error) {
	run, err := s.o.Hub.StorePlan(ctx, in.Name)
	return s.audited(ctx, "run.plan", run, err)
}

func (s *server) revertRun(ctx context.Context, in *runIn) (*body[tidegate.Run], error) {
	run, err := s.o.Hub.Revert(ctx, in.ID)
	return s.audited(ctx, "run.revert", run, err)
}

func (s *server) checkDrift(ctx context.Context, in *struct {
	SyncAddress
	Sample  int  `query:"sample" default:"1000" minimum:"0" maximum:"100000000" doc:"About how many records to look at; 0 is all of them."`
	Restore bool `query:"restore" doc:"Begin a run that writes the confirmed values again."`
},
) (*body[runner.DriftReport], error) {
	report, err := s.o.Hub.Drift(ctx, in.Name, runner.DriftOptions{Sample: in.Sample, Restore: in.Restore})
	if err == nil && report.Run != nil {
		_, err = s.audited(ctx, "run.restore", *report.Run, nil)
	}
	return answer(report, err)
}

// StorePlan stores a plan as a held run.
func (c *Client) StorePlan(ctx context.Context, name string) (tidegate.Run, error) {
	return post[tidegate.Run](ctx, c, syncPath(name, "/plans"), nil, nil)
}

// Revert begins a run that takes back what a finished one delivered.
func (c *Client) Revert(ctx context.Context, id string) (tidegate.Run, error) {
	return post[tidegate.Run](ctx, c, "/v1/runs/"+url.PathEscape(id)+"/revert", nil, nil)
}

// Drift compares what was confirmed with what the destination holds.
func (c *Client) Drift(ctx context.Context, name string, opts runner.DriftOptions) (runner.DriftReport, error) {
	return post[runner.DriftReport](ctx, c, syncPath(name, "/drift"), url.Values{
		"sample": {strconv.Itoa(opts.Sample)}, "restore": {strconv.FormatBool(opts.Restore)},
	}, nil)
}
