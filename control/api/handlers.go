package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/ledger"
)

// Health is the answer of /healthz.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

// Version is the answer of /v1/version.
type Version struct {
	Version string `json:"version"`
}

func (s *server) health(context.Context, *nothing) (*body[Health], error) {
	return answer(Health{Status: "ok"}, nil)
}

// readiness is Readiness with its status; without a token the stages only.
type readiness struct {
	Status int
	Body   Readiness
}

func (s *server) ready(ctx context.Context, _ *nothing) (*readiness, error) {
	r := s.o.Hub.Ready(ctx)
	r.Sources = []SourceCounts{} // names of sources are for those who may read definitions
	out := &readiness{Status: http.StatusOK, Body: r}
	if !r.Ready {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

func (s *server) status(ctx context.Context, _ *nothing) (*body[Readiness], error) {
	return answer(s.o.Hub.Ready(ctx), nil)
}

func (s *server) version(context.Context, *nothing) (*body[Version], error) {
	return answer(Version{Version: s.o.Version}, nil)
}

func (s *server) doctor(ctx context.Context, _ *nothing) (*body[list[Finding]], error) {
	return answerList(s.o.Hub.Doctor(ctx), nil)
}

// projectBody documents the bodies that are projects.
var projectBody project.Project

type projectIn struct {
	IfMatch string `header:"If-Match" doc:"The revision that the change is made on, as the ETag of GET /v1/project."`
	RawBody []byte `contentType:"application/json"`
}

type projectOut struct {
	ETag string `header:"ETag"`
	Body project.Project
}

type planOut struct {
	ETag string `header:"ETag"`
	Body catalog.Plan
}

func etag(n int64) string { return `"` + strconv.FormatInt(n, 10) + `"` }

// base reads an If-Match header: "7" quoted, or * for whatever there is.
func base(ifMatch string, absent int64) (int64, error) {
	if ifMatch == "" || ifMatch == "*" {
		return absent, nil
	}
	n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(ifMatch, "W/"), `"`), 10, 64)
	if err != nil || n < 0 {
		return 0, newProblem(http.StatusBadRequest, "request.invalid", fmt.Sprintf("If-Match %q is no ETag of this API", ifMatch), "send the ETag of the answer that the change is made on")
	}
	return n, nil
}

func (s *server) exportProject(ctx context.Context, _ *nothing) (*projectOut, error) {
	p, rev, err := s.o.Catalog.Current(ctx)
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &project.Project{}
	}
	return &projectOut{ETag: etag(rev), Body: *p}, nil
}

func (s *server) checkProject(_ context.Context, in *projectIn) (*body[list[config.Problem]], error) {
	_, err := project.Parse(in.RawBody, s.o.Kinds)
	var invalid *config.Error
	if errors.As(err, &invalid) {
		return answerList(invalid.Problems, nil)
	}
	return answerList([]config.Problem{}, err)
}

func (s *server) planProject(ctx context.Context, in *projectIn) (*planOut, error) {
	p, err := project.Parse(in.RawBody, s.o.Kinds)
	if err != nil {
		return nil, err
	}
	plan, err := s.o.Catalog.Plan(ctx, p)
	return &planOut{ETag: etag(plan.Base), Body: plan}, err
}

func (s *server) applyProject(ctx context.Context, in *projectIn) (*planOut, error) {
	p, err := project.Parse(in.RawBody, s.o.Kinds)
	if err != nil {
		return nil, err
	}
	on, err := base(in.IfMatch, catalog.AnyBase)
	if err != nil {
		return nil, err
	}
	plan, err := s.o.Catalog.Apply(ctx, p, who(ctx).Name, on)
	return &planOut{ETag: etag(max(plan.Revision, plan.Base)), Body: plan}, err
}

// DefinitionKind is the path of the definitions of one kind: project.DefinitionKinds.
// It is exported because only exported types can be embedded in inputs.
type DefinitionKind struct {
	Kind string `path:"kind" enum:"warehouse,settings,source,destination,model,sync,forward,dbt,tracking_plan,transform,library,alert,stream"`
}

// DefinitionAddress is the path of one definition; see DefinitionKind.
type DefinitionAddress struct {
	DefinitionKind
	Name string `path:"name" maxLength:"63"`
}

// DefinitionBase says which version of a definition a change is made on; see DefinitionKind.
type DefinitionBase struct {
	IfMatch string `header:"If-Match" doc:"The version that the change is made on, as the ETag of GET."`
}

type definitionOut struct {
	ETag string `header:"ETag"`
	Body store.Definition
}

func (s *server) listDefinitions(ctx context.Context, in *DefinitionKind) (*body[list[store.Definition]], error) {
	return answerList(s.o.Catalog.Definitions(ctx, in.Kind))
}

func (s *server) getDefinition(ctx context.Context, in *DefinitionAddress) (*definitionOut, error) {
	d, err := s.o.Catalog.Definition(ctx, in.Kind, in.Name)
	return &definitionOut{ETag: etag(d.Version), Body: d}, err
}

func (s *server) putDefinition(ctx context.Context, in *struct {
	DefinitionAddress
	DefinitionBase
	IfNoneMatch string `header:"If-None-Match" doc:"* creates only."`
	RawBody     []byte `contentType:"application/json"`
},
) (*planOut, error) {
	on, err := base(in.IfMatch, catalog.AnyVersion)
	if err != nil {
		return nil, err
	}
	if in.IfNoneMatch == "*" {
		on = 0
	}
	plan, err := s.o.Catalog.Put(ctx, in.Kind, in.Name, json.RawMessage(in.RawBody), who(ctx).Name, on)
	if err != nil {
		return nil, err
	}
	d, err := s.o.Catalog.Definition(ctx, in.Kind, in.Name)
	return &planOut{ETag: etag(d.Version), Body: plan}, err
}

func (s *server) deleteDefinition(ctx context.Context, in *struct {
	DefinitionAddress
	DefinitionBase
},
) (*body[catalog.Plan], error) {
	on, err := base(in.IfMatch, catalog.AnyVersion)
	if err != nil {
		return nil, err
	}
	return answer(s.o.Catalog.Delete(ctx, in.Kind, in.Name, who(ctx).Name, on))
}

func (s *server) definitionHistory(ctx context.Context, in *struct {
	DefinitionAddress
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000"`
},
) (*body[list[store.Definition]], error) {
	return answerList(s.o.Catalog.History(ctx, in.Kind, in.Name, in.Limit))
}

// SyncAddress is the path of one sync; see DefinitionAddress.
type SyncAddress struct {
	Name string `path:"name" maxLength:"63"`
}

func (s *server) listSyncs(ctx context.Context, _ *nothing) (*body[list[SyncStatus]], error) {
	return answerList(s.o.Hub.Syncs(ctx))
}

func (s *server) getSync(ctx context.Context, in *SyncAddress) (*body[SyncStatus], error) {
	return answer(s.o.Hub.Sync(ctx, in.Name))
}

func (s *server) planSync(ctx context.Context, in *struct {
	SyncAddress
	Sample int  `query:"sample" default:"20" minimum:"0" maximum:"1000" doc:"How many changes to show."`
	Fresh  bool `query:"fresh" doc:"Plan anew although a run is held, whose plan is shown otherwise."`
},
) (*body[SyncPlan], error) {
	return answer(s.o.Hub.SyncPlan(ctx, in.Name, in.Sample, in.Fresh))
}

func (s *server) startRun(ctx context.Context, in *SyncAddress) (*body[tidegate.Run], error) {
	run, err := s.o.Hub.SyncRun(ctx, in.Name)
	return s.audited(ctx, "run.start", run, err)
}

func (s *server) approveRun(ctx context.Context, in *runIn) (*body[tidegate.Run], error) {
	run, err := s.o.Hub.Approve(ctx, in.ID)
	return s.audited(ctx, "run.approve", run, err)
}

func (s *server) cancelRun(ctx context.Context, in *runIn) (*body[tidegate.Run], error) {
	run, err := s.o.Hub.Cancel(ctx, in.ID)
	return s.audited(ctx, "run.cancel", run, err)
}

// audited answers with the run after writing who did it. An audit entry that
// cannot be written fails the request, although the act is done: nobody is to
// rely on a log with holes.
func (s *server) audited(ctx context.Context, action string, run tidegate.Run, err error) (*body[tidegate.Run], error) {
	if err != nil {
		return nil, err
	}
	return answer(run, s.audit(ctx, action, run.ID, map[string]string{"sync": run.Sync}))
}

// audit writes who did what to which object; detail, when there is any, becomes JSON.
func (s *server) audit(ctx context.Context, action, object string, detail any) error {
	entry := store.AuditEntry{Actor: who(ctx).Name, Action: action, Object: object}
	if detail != nil {
		var err error
		if entry.Detail, err = json.Marshal(detail); err != nil {
			return err
		}
	}
	return s.o.Store.Audit(context.WithoutCancel(ctx), entry)
}

type runIn struct {
	ID string `path:"id" maxLength:"100"`
}

func (s *server) getRun(ctx context.Context, in *runIn) (*body[tidegate.Run], error) {
	return answer(s.o.Hub.Run(ctx, in.ID))
}

func (s *server) listRuns(ctx context.Context, in *struct {
	SyncAddress
	Before string `query:"before" doc:"A run's id: older runs only."`
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"1000"`
},
) (*body[list[tidegate.Run]], error) {
	return answerList(s.o.Hub.Runs(ctx, in.Name, in.Before, in.Limit))
}

func (s *server) listRejections(ctx context.Context, in *struct {
	SyncAddress
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"10000"`
},
) (*body[list[ledger.Rejection]], error) {
	return answerList(s.o.Hub.Rejections(ctx, in.Name, in.Limit))
}

func (s *server) listCauses(ctx context.Context, in *struct {
	SyncAddress
	Limit int `query:"limit" default:"20" minimum:"1" maximum:"1000"`
},
) (*body[list[ledger.Cluster]], error) {
	return answerList(s.o.Hub.Causes(ctx, in.Name, in.Limit))
}

// Retried is how many rejections became due.
type Retried struct {
	Retried int64 `json:"retried"`
}

func (s *server) retryRejections(ctx context.Context, in *struct {
	SyncAddress
	Cluster string `query:"cluster" doc:"Only rejections of this cluster."`
	Key     string `query:"key" doc:"Only the record of this key, as JSON: [7]."`
},
) (*body[Retried], error) {
	n, err := s.o.Hub.RetryRejections(ctx, in.Name, in.Cluster, tidegate.Key(in.Key))
	if err == nil {
		err = s.audit(ctx, "sync.retry", in.Name, Retried{Retried: n})
	}
	return answer(Retried{Retried: n}, err)
}

func (s *server) listSyncLog(ctx context.Context, in *struct {
	SyncAddress
	Run         string    `query:"run" doc:"Only results of this run."`
	Key         string    `query:"key" doc:"Only results of this key, as JSON: [7]."`
	Disposition string    `query:"disposition" enum:"delivered,rejected,in_doubt,deferred,excluded,skipped" doc:"Only these."`
	Before      time.Time `query:"before" doc:"Only results recorded before this time: the next page."`
	Limit       int       `query:"limit" default:"100" minimum:"1" maximum:"10000"`
},
) (*body[list[ledger.LogEntry]], error) {
	return answerList(s.o.Hub.SyncLog(ctx, in.Name, ledger.LogFilter{RunID: in.Run, Key: tidegate.Key(in.Key), Disposition: in.Disposition, Before: in.Before, Limit: in.Limit}))
}

// Resynced names the sync whose ledger was emptied.
type Resynced struct {
	Sync string `json:"sync"`
}

func (s *server) resync(ctx context.Context, in *SyncAddress) (*body[Resynced], error) {
	err := s.o.Hub.Resync(ctx, in.Name)
	if err == nil {
		err = s.audit(ctx, "sync.resync", in.Name, nil)
	}
	return answer(Resynced{Sync: in.Name}, err)
}

func (s *server) pauseSync(ctx context.Context, in *SyncAddress) (*body[SyncStatus], error) {
	return s.holdSync(ctx, in.Name, true, "sync.pause")
}

func (s *server) resumeSync(ctx context.Context, in *SyncAddress) (*body[SyncStatus], error) {
	return s.holdSync(ctx, in.Name, false, "sync.resume")
}

func (s *server) holdSync(ctx context.Context, name string, pause bool, action string) (*body[SyncStatus], error) {
	if err := s.o.Hub.PauseSync(ctx, name, pause); err != nil {
		return nil, err
	}
	if err := s.audit(ctx, action, name, nil); err != nil {
		return nil, err
	}
	return answer(s.o.Hub.Sync(ctx, name))
}

func (s *server) listAudit(ctx context.Context, in *struct {
	After int64 `query:"after" minimum:"0" doc:"Entries after this number."`
	Limit int   `query:"limit" default:"100" minimum:"1" maximum:"10000"`
},
) (*body[list[store.AuditEntry]], error) {
	return answerList(s.o.Store.AuditLog(ctx, in.After, in.Limit))
}

func (s *server) listTokens(ctx context.Context, _ *nothing) (*body[list[store.Token]], error) {
	return answerList(s.o.Store.Tokens(ctx))
}

// NewToken asks for an API token.
type NewToken struct {
	Name      string `json:"name" minLength:"1" maxLength:"100" doc:"Who or what will use it."`
	Role      string `json:"role" pattern:"^(viewer|analyst|operator|editor|admin|stream|stream:[a-z][a-z0-9_]{0,62})$" doc:"viewer, analyst, operator, editor, admin; stream reads streams only, stream:NAME one of them."`
	ExpiresIn string `json:"expires_in,omitempty" doc:"A duration such as 720h; without it the token does not expire."`
}

// IssuedToken is a token, shown this once.
type IssuedToken struct {
	Token string `json:"token"`
}

func (s *server) createToken(ctx context.Context, in *struct{ Body NewToken }) (*body[IssuedToken], error) {
	var expires time.Time
	if in.Body.ExpiresIn != "" {
		d, err := time.ParseDuration(in.Body.ExpiresIn)
		if err != nil || d <= 0 {
			return nil, newProblem(http.StatusUnprocessableEntity, "token.invalid", fmt.Sprintf("%q is no duration", in.Body.ExpiresIn), "write 24h or 720h")
		}
		expires = s.o.Now().Add(d)
	}
	if name, one := strings.CutPrefix(in.Body.Role, "stream:"); one {
		if err := s.knownStream(ctx, name); err != nil {
			return nil, err
		}
	}
	token, err := s.o.Keeper.Issue(ctx, who(ctx).Name, in.Body.Name, auth.Role(in.Body.Role), expires)
	return answer(IssuedToken{Token: token}, err)
}

// knownStream refuses a token that would read nothing.
func (s *server) knownStream(ctx context.Context, name string) error {
	all, err := s.o.Hub.Streams(ctx)
	if err != nil {
		return err
	}
	known := make([]string, len(all))
	for i, st := range all {
		known[i] = st.Name
	}
	if slices.Contains(known, name) {
		return nil
	}
	return newProblem(http.StatusUnprocessableEntity, "token.invalid", fmt.Sprintf("there is no stream %q", name), cmp.Or(config.DidYouMean(name, known), "define it under `streams` first"))
}

func (s *server) revokeToken(ctx context.Context, in *struct {
	ID string `path:"id"`
},
) (*struct{}, error) {
	return nil, s.o.Store.RevokeToken(ctx, who(ctx).Name, in.ID)
}
