package transform

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/dop251/goja"
)

// WorkerCommand is the hidden argument with which a binary becomes a worker: its main
// calls Worker and nothing else.
const WorkerCommand = "_transform-worker"

const (
	tick  = 5 * time.Millisecond
	grace = 500 * time.Millisecond // of processor time, before a worker that cannot be interrupted ends itself
)

// Worker serves requests from in until it ends, and writes one result per task to out.
// now is asked where the system does not tell a process its processor time.
func Worker(in io.Reader, out io.Writer, now func() time.Time) error {
	confine()
	w := &worker{out: bufio.NewWriter(out), machines: map[string]*machine{}}
	w.watch = &watchdog{worker: w, cpu: func() time.Duration { return processorTime(now) }, stop: make(chan struct{})}
	var dog sync.WaitGroup
	dog.Go(w.watch.run)
	defer dog.Wait()
	defer close(w.watch.stop)
	frames := bufio.NewReader(in)
	for {
		body, err := readFrame(frames)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var q request
		if err == nil {
			q, err = decodeRequest(body)
		}
		if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if err := w.serve(&q); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

type worker struct {
	mu       sync.Mutex // of out
	out      *bufio.Writer
	machines map[string]*machine
	watch    *watchdog
}

const maxKnown = 256 // scripts that a worker knows at once

func (w *worker) serve(q *request) error {
	m := w.machines[q.Script]
	if m == nil {
		program, err := parse(q.Name, q.Source)
		if err != nil {
			for range q.Tasks {
				if err := w.answer(&result{Code: CodeFailed, Message: err.Error()}); err != nil {
					return err
				}
			}
			return nil
		}
		if len(w.machines) >= maxKnown {
			clear(w.machines)
		}
		m = &machine{name: q.Name, program: program, watch: w.watch}
		w.machines[q.Script] = m
	}
	limitMemory(q.Memory)
	w.watch.limit(q.Timeout, q.Memory)
	for i := range q.Tasks {
		r := m.run(&q.Tasks[i])
		if err := w.answer(&r); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) answer(r *result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := writeFrame(w.out, appendResult(nil, r)); err != nil {
		return err
	}
	return w.out.Flush()
}

// watchdog interrupts a script that takes too much, and ends the process when the
// script cannot be interrupted: some functions of the engine run on by themselves.
type watchdog struct {
	worker *worker
	cpu    func() time.Duration
	stop   chan struct{}

	mu      sync.Mutex
	vm      *goja.Runtime // running; nil: none
	began   time.Duration
	told    bool
	timeout time.Duration
	memory  int64
}

func (d *watchdog) limit(timeout time.Duration, memory int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timeout, d.memory = timeout, memory
}

func (d *watchdog) begin(vm *goja.Runtime) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vm, d.began, d.told = vm, d.cpu(), false
}

func (d *watchdog) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vm = nil
}

func (d *watchdog) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		select {
		case <-d.stop:
			return
		case <-t.C:
			d.look(sample)
		}
	}
}

func (d *watchdog) look(sample []metrics.Sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vm == nil {
		return
	}
	used := d.cpu() - d.began
	if used > d.timeout+grace {
		// The script's thread is in a function that does not listen: say whose fault
		// it is and go, with the event and nothing else.
		_ = d.worker.answer(&result{Code: CodeTimeout, Message: fmt.Sprintf("the script took more than %s and could not be interrupted", d.timeout)})
		os.Exit(exitHung)
	}
	if d.told {
		return
	}
	if used > d.timeout {
		d.told = true
		d.vm.Interrupt(result{Code: CodeTimeout, Message: fmt.Sprintf("the script took more than %s", d.timeout)})
		return
	}
	if heap(sample) > d.memory {
		runtime.GC()
		if heap(sample) > d.memory {
			d.told = true
			d.vm.Interrupt(result{Code: CodeMemory, Message: fmt.Sprintf("the script took more than %d MB", d.memory>>20)})
		}
	}
}

func heap(sample []metrics.Sample) int64 {
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) //nolint:gosec // far below
}

const exitHung = 3

// limitMemory lets the collector work harder near the limit, and has the system refuse
// what goes far beyond it.
func limitMemory(script int64) {
	debug.SetMemoryLimit(script + 32<<20)
	capData(2*script + 64<<20)
}
