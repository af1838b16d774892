package transform

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// machine runs one script for one event after the other. It lives in a worker process.
type machine struct {
	name    string
	program *goja.Program
	watch   *watchdog
}

const (
	maxCalls  = 1_000 // inside each other
	maxResult = 4 << 20
	maxLogs   = 50
)

func failed(format string, args ...any) result {
	return result{Code: CodeFailed, Message: bounded(fmt.Sprintf(format, args...))}
}

// run runs the script in a runtime of its own, so that no event knows of another.
func (m *machine) run(t *task) (out result) {
	vm := goja.New()
	vm.SetMaxCallStackSize(maxCalls)
	random := rand.New(rand.NewPCG(t.Seed[0], t.Seed[1])) //nolint:gosec // the same event must meet the same numbers
	vm.SetRandSource(random.Float64)
	at := time.UnixMicro(t.ReceivedAt).UTC()
	vm.SetTimeSource(func() time.Time { return at })
	defer func() {
		switch r := recover().(type) { // what leaves the engine this way must not cost the events after this one
		case nil:
		case error:
			out = m.failure(r)
		default:
			out = failed("the engine panicked: %v", r)
		}
	}()
	var logs []string
	defer func() { out.Logs = logs }()
	if err := m.furnish(vm, &logs); err != nil {
		return failed("%s", err)
	}
	text, stringify := jsonOf(vm)

	m.watch.begin(vm)
	defer m.watch.end()
	if _, err := vm.RunProgram(m.program); err != nil {
		return m.failure(err)
	}
	event, err := text(goja.Undefined(), vm.ToValue(string(t.Event)))
	if err != nil {
		return m.failure(err)
	}
	value, err := m.call(vm, event, t)
	if err != nil {
		return m.failure(err)
	}
	switch {
	case goja.IsNull(value):
		return result{Drop: true}
	case goja.IsUndefined(value):
		return failed("the script returned nothing: return the event, or null to drop it")
	}
	if o, ok := value.(*goja.Object); !ok || o.ClassName() != "Object" {
		return failed("the script returned no event but %s", kindOf(value))
	}
	written, err := stringify(goja.Undefined(), value)
	if err != nil {
		return m.failure(err)
	}
	if goja.IsUndefined(written) {
		return failed("the script returned what cannot be written as JSON")
	}
	out = result{Event: []byte(strings.ToValidUTF8(written.String(), "\ufffd"))}
	if len(out.Event) > maxResult {
		return failed("the result has %d bytes, %d are allowed", len(out.Event), maxResult)
	}
	return out
}

func kindOf(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok {
		return "an " + strings.ToLower(o.ClassName())
	}
	if t := v.ExportType(); t != nil {
		return "a " + t.String()
	}
	return "nothing"
}

// jsonOf is the runtime's JSON before the script could change it.
func jsonOf(vm *goja.Runtime) (parse, stringify goja.Callable) {
	o := vm.Get("JSON").ToObject(vm)
	parse, _ = goja.AssertFunction(o.Get("parse"))
	stringify, _ = goja.AssertFunction(o.Get("stringify"))
	return parse, stringify
}

// furnish gives the script console and log.
func (m *machine) furnish(vm *goja.Runtime, logs *[]string) error {
	say := func(call goja.FunctionCall) goja.Value {
		if len(*logs) < maxLogs {
			words := make([]string, len(call.Arguments))
			for i, a := range call.Arguments {
				words[i] = a.String()
			}
			*logs = append(*logs, bounded(strings.Join(words, " ")))
		}
		return goja.Undefined()
	}
	console := vm.NewObject()
	for _, name := range []string{"log", "info", "warn", "error", "debug"} {
		if err := console.Set(name, say); err != nil {
			return err
		}
	}
	if err := vm.Set("console", console); err != nil {
		return err
	}
	return vm.Set("log", say)
}

// call calls transform(event, meta), or transformEvent(event, metadata) as
// RudderStack's scripts have it.
func (m *machine) call(vm *goja.Runtime, event goja.Value, t *task) (goja.Value, error) {
	meta := vm.NewObject()
	for _, m := range [...][2]string{
		{"source", t.Source}, {"sourceName", t.Source}, {"messageId", t.MessageID}, {"receivedAt", time.UnixMicro(t.ReceivedAt).UTC().Format(time.RFC3339Nano)}, {"requestIp", t.RequestIP},
	} {
		if err := meta.Set(m[0], m[1]); err != nil {
			return nil, err
		}
	}
	if f, ok := goja.AssertFunction(vm.Get("transform")); ok {
		return settled(f(goja.Undefined(), event, meta))
	}
	f, ok := goja.AssertFunction(vm.Get("transformEvent"))
	if !ok {
		return nil, errors.New("the script has no function transform(event, meta)")
	}
	return settled(f(goja.Undefined(), event, vm.ToValue(func(goja.FunctionCall) goja.Value { return meta })))
}

// settled is what a promise came to: everything that it waits for has run.
func settled(v goja.Value, err error) (goja.Value, error) {
	if err != nil {
		return nil, err
	}
	p, ok := v.Export().(*goja.Promise)
	if !ok {
		return v, nil
	}
	switch p.State() {
	case goja.PromiseStateFulfilled:
		return p.Result(), nil
	case goja.PromiseStateRejected:
		return nil, errors.New("the promise was rejected: " + p.Result().String())
	case goja.PromiseStatePending:
	}
	return nil, errors.New("the promise is never resolved")
}

// failure says what ended the script.
func (m *machine) failure(err error) result {
	var interrupted *goja.InterruptedError
	var thrown *goja.Exception
	var deep *goja.StackOverflowError
	switch {
	case errors.As(err, &interrupted):
		reason, _ := interrupted.Value().(result)
		if reason.Code == "" {
			reason = failed("the script was interrupted")
		}
		return reason
	case errors.As(err, &deep):
		return failed("calls are nested deeper than %d", maxCalls)
	case errors.As(err, &thrown):
		text := ""
		if v := thrown.Value(); v != nil {
			text = v.String()
		}
		for _, frame := range thrown.Stack() {
			if at := frame.Position(); frame.SrcName() == m.name && at.Line > 0 {
				return failed("%s, at %s:%d:%d", bounded(text), fileOf(at.Filename), at.Line, at.Column)
			}
		}
		return failed("%s", text)
	}
	return failed("%s", err)
}
