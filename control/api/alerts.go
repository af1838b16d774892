package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tidegate/tidegate/control/alert"
)

func (s *server) listAlerts(ctx context.Context, _ *nothing) (*body[list[alert.State]], error) {
	return answerList(s.o.Hub.Alerts(ctx), nil)
}

type alertIn struct {
	Name string `path:"name"`
}

func (s *server) testAlert(ctx context.Context, in *alertIn) (*nothing, error) {
	return &nothing{}, s.o.Hub.TestAlert(ctx, in.Name)
}

// Alerts lists what alerts are raised, or resolved and not yet told.
func (c *Client) Alerts(ctx context.Context) ([]alert.State, error) {
	var out list[alert.State]
	err := c.call(ctx, http.MethodGet, "/v1/alerts", nil, nil, nil, &out)
	return out.Items, err
}

// TestAlert sends a test message through the channel of an alert.
func (c *Client) TestAlert(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/alerts/"+url.PathEscape(name)+"/test", nil, nil, nil, nil)
}
