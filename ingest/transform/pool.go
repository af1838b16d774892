package transform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate"
)

const (
	chunkTasks = 256
	chunkBytes = 4 << 20
	silence    = 30 * time.Second // without an answer; a worker's own watchdog is far quicker
	maxStderr  = 16 << 10
)

// WorkersOptions are what Workers need. Command and Log must be set.
type WorkersOptions struct {
	// Command makes the command of one worker: the binary with WorkerCommand.
	Command func() *exec.Cmd
	Log     *slog.Logger
	// Size is how many processes there are at most (2).
	Size int
}

// Workers run scripts in processes that can be killed. The processes are started when
// they are needed and live until Close.
type Workers struct {
	o     WorkersOptions
	slots chan struct{}

	mu     sync.Mutex
	idle   []*process
	closed bool
}

// NewWorkers returns Workers without a process.
func NewWorkers(o WorkersOptions) *Workers {
	if o.Size <= 0 {
		o.Size = 2
	}
	return &Workers{o: o, slots: make(chan struct{}, o.Size)}
}

// Close ends the processes and waits for them. Nothing may be running.
func (w *Workers) Close() error {
	w.mu.Lock()
	idle := w.idle
	w.idle, w.closed = nil, true
	w.mu.Unlock()
	for _, p := range idle {
		p.end()
	}
	return nil
}

// run has the script work on tasks. Whatever the script does there is one result per
// task; an error means that no process could be had, or that ctx ended.
func (w *Workers) run(ctx context.Context, sc *script, tasks []task) ([]result, error) {
	results := make([]result, len(tasks))
	var group errgroup.Group
	for first := 0; first < len(tasks); {
		n, size := 0, 0
		for first+n < len(tasks) && n < chunkTasks && (n == 0 || size+len(tasks[first+n].Event) <= chunkBytes) {
			size += len(tasks[first+n].Event)
			n++
		}
		part, into := tasks[first:first+n], results[first:first+n]
		first += n
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, errors.Join(group.Wait(), fmt.Errorf("waiting for a worker: %w", ctx.Err()))
		}
		group.Go(func() error {
			defer func() { <-w.slots }()
			return w.finish(ctx, sc, part, into)
		})
	}
	return results, group.Wait()
}

// finish gets a result for every task, with as many processes as it takes. The task
// at which a process dies is tried once more by itself.
func (w *Workers) finish(ctx context.Context, sc *script, tasks []task, into []result) error {
	suspect := false // the first of tasks killed a process
	for len(tasks) > 0 {
		p, err := w.take()
		if err != nil {
			return err
		}
		ask := tasks
		if suspect {
			ask = tasks[:1]
		}
		done, died := p.exchange(ctx, sc, ask, into)
		tasks, into = tasks[done:], into[done:]
		if died == nil {
			suspect = false
			w.give(p)
			continue
		}
		p.end()
		if ctx.Err() != nil {
			return fmt.Errorf("running %s: %w", sc.name, ctx.Err())
		}
		if suspect && done == 0 {
			into[0] = p.autopsy(died)
			w.o.Log.WarnContext(ctx, "an event killed the process of a transformation twice and is a dead letter now", "script", sc.name, "code", into[0].Code, "error", died)
			tasks, into = tasks[1:], into[1:]
			suspect = false
			continue
		}
		suspect = true
	}
	return nil
}

// take returns an idle process or a new one.
func (w *Workers) take() (*process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errors.New("the workers of transformations are closed")
	}
	if n := len(w.idle); n > 0 {
		p := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return p, nil
	}
	return start(w.o.Command())
}

func (w *Workers) give(p *process) {
	w.mu.Lock()
	closed := w.closed
	if !closed {
		w.idle = append(w.idle, p)
	}
	w.mu.Unlock()
	if closed {
		p.end()
	}
}

// process is one worker, used by one goroutine at a time.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said tail
	hung atomic.Bool // it was killed because it said nothing
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Env = []string{"TZ=UTC", "GOMAXPROCS=2", "GOTRACEBACK=none"}
	cmd.Stderr = &p.said
	in, err := cmd.StdinPipe()
	if err == nil {
		p.in = in
		var out io.ReadCloser
		if out, err = cmd.StdoutPipe(); err == nil {
			p.out = bufio.NewReaderSize(out, 64<<10)
			err = cmd.Start()
		}
	}
	if err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Retry, Code: "transform.worker", Message: "no process for transformations can be started: " + err.Error(), Err: err}
	}
	return p, nil
}

// exchange sends tasks and reads their results into into. It returns how many came
// and, when the process did not answer all, why.
func (p *process) exchange(ctx context.Context, sc *script, tasks []task, into []result) (done int, err error) {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	watch := time.AfterFunc(silence, func() {
		p.hung.Store(true)
		p.kill()
	})
	defer watch.Stop()
	q := request{Script: sc.id, Name: sc.name, Source: sc.source, Timeout: sc.timeout, Memory: sc.memory, Tasks: tasks}
	if err := writeFrame(p.in, appendRequest(nil, &q)); err != nil {
		return 0, fmt.Errorf("sending events: %w", err)
	}
	for i := range tasks {
		body, err := readFrame(p.out)
		if err == nil {
			into[i], err = decodeResult(body)
		}
		if err != nil {
			return i, fmt.Errorf("reading the result of an event: %w", err)
		}
		watch.Reset(silence)
	}
	return len(tasks), nil
}

func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may be gone already

// end kills the process, which keeps nothing, and waits for it.
func (p *process) end() {
	p.kill()
	_ = p.in.Close()
	_ = p.cmd.Wait() // how it ended is in said
}

// autopsy says of what an ended process died.
func (p *process) autopsy(died error) result {
	said := p.said.String()
	switch {
	case p.hung.Load():
		return result{Code: CodeTimeout, Message: fmt.Sprintf("the script's process said nothing for %s", silence)}
	case strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"):
		return result{Code: CodeMemory, Message: "the script took so much memory at once that its process died"}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
	if first == "" {
		first = died.Error()
	}
	return result{Code: CodeFailed, Message: bounded("the script's process died: " + first)}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if more := len(t.b) - maxStderr; more > 0 {
		t.b = t.b[more:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
