package hubspot

import (
	"context"
	"encoding/json"

	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/secret"
)

// Config is the configuration of one HubSpot account.
type Config struct {
	Token          secret.Secret `json:"token" doc:"The access token of a private app with the scopes crm.objects.{contacts,companies,deals}.{read,write}, crm.lists.{read,write} (for audiences) and crm.schemas.{contacts,companies,deals}.{read,write}."`
	BaseURL        string        `json:"base_url,omitempty" default:"https://api.hubapi.com" format:"uri" pattern:"^https?://[^/?#]+/?$" doc:"The address of the API; another one for a simulator."`
	CallsPerTenSec int           `json:"calls_per_ten_seconds,omitempty" default:"100" min:"1" max:"1000" doc:"How many calls in ten seconds the account allows: 100 on Free and Starter, 190 on Professional and Enterprise, 250 with the add-on. Leave room for other apps."`
	Concurrency    int           `json:"concurrency,omitempty" default:"4" min:"1" max:"32" doc:"How many calls are under way at once, at most."`
}

// Kind is the registration of this connector.
func Kind() destinations.Kind {
	k := destinations.Define("hubspot", "HubSpot", func(_ context.Context, cfg Config, env destinations.Env) (destinations.Destination, error) {
		return open(cfg, env)
	})
	k.Simulate = func(options json.RawMessage) (destinations.Simulator, error) { return NewSimulator(options) }
	k.SimulatorConfig = func(baseURL string) json.RawMessage {
		raw, err := json.Marshal(map[string]string{"token": "pat-simulated", "base_url": baseURL})
		if err != nil {
			return nil // two strings always encode
		}
		return raw
	}
	return k
}
