package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/tracking"
	"github.com/tidegate/tidegate/ingest/transform"
)

// judges is the one judge of the hub, which every reader of the journal asks: the
// loader, forwarding, the live view. Its rules are those of the active project;
// they are replaced as a whole and never changed, so that one call sees one state
// of them.
type judges struct {
	// suppression is asked first; nil: nobody is suppressed. It is set before the
	// first project is activated.
	suppression judge.Judge

	rules atomic.Pointer[judge.Chain]

	// workers run the scripts of transformations. They stay when rules are replaced,
	// because whoever asks at that moment still asks the old ones.
	workers *transform.Workers
	dir     string // the project's folder, from which paths of databases are read
	secrets secrets

	mu     sync.Mutex
	places map[string]places // opened databases by path
}

// places is an opened database with what tells whether the file is still the same.
type places struct {
	size int64
	at   time.Time
	geo  *transform.Geo
}

var _ judge.Judge = (*judges)(nil)

// Judge implements judge.Judge. Before a project is active nothing is decided.
func (j *judges) Judge(ctx context.Context, items []judge.Item, verdicts []judge.Verdict) error {
	if rules := j.rules.Load(); rules != nil {
		return rules.Judge(ctx, items, verdicts)
	}
	return nil
}

// compile makes the rules of p: suppression, then the tracking plan, which looks at
// what the app sent, then the transformations.
func (j *judges) compile(p *project.Project) (judge.Chain, error) {
	var rules judge.Chain
	if j.suppression != nil {
		rules = append(rules, j.suppression)
	}
	plans, err := plansOf(p)
	if err != nil {
		return nil, err
	}
	if len(plans) > 0 {
		rules = append(rules, plans)
	}
	transforms, err := transform.New(p.Transforms, transform.Options{Secret: j.secrets.resolve, Geo: j.openPlaces, Workers: j.workers, Libraries: transform.LibrariesOf(p.Libraries)})
	if err != nil {
		return nil, err
	}
	if transforms.Len() > 0 {
		rules = append(rules, transforms)
	}
	return rules, nil
}

// transformWorkers are processes of this binary that run scripts.
func transformWorkers(log *slog.Logger) *transform.Workers {
	return transform.NewWorkers(transform.WorkersOptions{Log: log, Size: max(2, min(runtime.NumCPU(), runtime.GOMAXPROCS(0))), Command: func() *exec.Cmd {
		self := "/proc/self/exe" // also when the file has been replaced by a newer version
		if _, err := os.Stat(self); err != nil {
			if self, err = os.Executable(); err != nil {
				self = os.Args[0]
			}
		}
		return exec.Command(self, transform.WorkerCommand) //nolint:gosec // ourselves, until the workers are closed
	}})
}

const maxPlaces = 512 << 20 // bytes of one database

// openPlaces reads a database of places, once while the file is the same.
func (j *judges) openPlaces(path string) (*transform.Geo, error) {
	path = under(j.dir, path)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("looking for the database of places: %w", err)
	}
	if info.Size() > maxPlaces {
		return nil, fmt.Errorf("the database of places %s has %d bytes, %d are allowed", path, info.Size(), maxPlaces)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if known, ok := j.places[path]; ok && known.size == info.Size() && known.at.Equal(info.ModTime()) {
		return known.geo, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the definition names it
	if err != nil {
		return nil, fmt.Errorf("reading the database of places: %w", err)
	}
	geo, err := transform.OpenGeo(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if j.places == nil {
		j.places = map[string]places{}
	}
	j.places[path] = places{info.Size(), info.ModTime(), geo}
	return geo, nil
}

// close ends the workers; nobody asks any more.
func (j *judges) close() error {
	if j.workers == nil {
		return nil
	}
	return j.workers.Close()
}

// plansOf are the tracking plans of p by the sources that name them.
func plansOf(p *project.Project) (tracking.Plans, error) {
	compiled := map[string]*tracking.Plan{}
	for _, def := range p.Plans {
		plan, err := tracking.New(def)
		if err != nil {
			return nil, err
		}
		compiled[def.Name] = plan
	}
	plans := tracking.Plans{}
	for _, s := range p.Sources {
		if plan := compiled[s.TrackingPlan]; plan != nil {
			plans[s.Name] = plan
		}
	}
	return plans, nil
}

// set makes rules those that are asked from now on.
func (j *judges) set(rules judge.Chain) { j.rules.Store(&rules) }
