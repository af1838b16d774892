package app

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/quota"
	"github.com/tidegate/tidegate/sync/runner"
)

// quotaPrefix begins the names of what this hub keeps in Redis.
const quotaPrefix = "tidegate:"

// openQuotas returns the quotas that hubs share in Redis, nil without it. Redis
// is not asked yet: while it is away, runs wait and events are loaded.
func (h *Hub) openQuotas(p *project.Project) (runner.Quotas, error) {
	if p.Settings.Redis == "" {
		return nil, nil //nolint:nilnil // documented
	}
	address, err := h.secrets.resolve(p.Settings.Redis)
	if err != nil {
		return nil, halted("settings.redis", "tidegate.yaml: settings.redis", err)
	}
	options, err := redis.ParseURL(address)
	if err != nil { // its text may hold the password (Invariant 9)
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "settings.redis", Subject: "tidegate.yaml: settings.redis", Message: "it stands for no address of Redis", Hint: "write redis://USER:PASSWORD@HOST:6379/0, or rediss:// with TLS, into the variable"}
	}
	logging.Disable() // the client would write lines of its own between those of our log; what its calls return says the same
	h.redis = redis.NewClient(options)
	return quota.New(h.redis, quotaPrefix), nil
}

// redisPatience is how long Redis may take to answer doctor.
const redisPatience = 2 * time.Second

// checkQuotas says whether Redis answers, where hubs share quotas there.
func (h *Hub) checkQuotas(ctx context.Context) []api.Finding {
	if h.redis == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if err := h.redis.Ping(ctx).Err(); err != nil {
		return []api.Finding{{
			Check: "redis", Level: "error", Detail: "no answer: " + err.Error() + "; what calls destinations waits",
			Hint: "start Redis, or correct what settings.redis leads to and restart the hub",
		}}
	}
	return []api.Finding{{Check: "redis", Level: "ok", Detail: "it answers"}}
}

func (h *Hub) closeQuotas() error {
	if h.redis == nil {
		return nil
	}
	return h.redis.Close()
}
