package transform

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

const (
	usualTimeout  = 100 * time.Millisecond
	maxTimeout    = 5 * time.Second
	usualMemoryMB = 64
	maxScript     = 1 << 20
)

// script is a compiled script of a definition; it runs in a process of Workers.
type script struct {
	name    string // of the file, for lines in messages
	id      string // what it and its limits are known by to a process
	source  string // with the libraries that it imports
	timeout time.Duration
	memory  int64
	workers *Workers
}

func buildScript(def tidegate.Transform, libraries Libraries) (*script, []config.Problem) {
	s := &script{name: def.Name + ".js", source: def.Script, timeout: usualTimeout, memory: usualMemoryMB << 20}
	var problems []config.Problem
	if d, err := time.ParseDuration(def.Timeout); err == nil {
		s.timeout = d
		if d < time.Millisecond || d > maxTimeout {
			problems = append(problems, config.Problem{Path: "timeout", Message: fmt.Sprintf("a script has 1ms to %s for an event", maxTimeout)})
		}
	}
	if def.MemoryMB > 0 {
		s.memory = int64(def.MemoryMB) << 20
	}
	if len(def.Script) > maxScript {
		problems = append(problems, config.Problem{Path: "script", Message: fmt.Sprintf("the script has %d bytes, %d are allowed", len(def.Script), maxScript)})
	} else if found := s.link(libraries); len(found) > 0 {
		problems = append(problems, found...)
	} else if err := lint(s.name, s.source); err != nil {
		problems = append(problems, config.Problem{Path: "script", Message: err.Error(), Hint: "write function transform(event, meta) { …; return event }"})
	}
	sum := sha256.Sum256([]byte(s.name + "\x00" + s.source))
	s.id = hex.EncodeToString(sum[:16])
	return s, problems
}

// exported finds the keywords of modules, which mean nothing here.
var exported = regexp.MustCompile(`(?m)^([ \t]*)(export[ \t]+(?:default[ \t]+)?)((?:async[ \t]+)?function|const|let|var|class)\b`)

// withoutExports blanks the keywords of modules; lines and columns stay.
func withoutExports(source string) string {
	return exported.ReplaceAllStringFunc(source, func(m string) string {
		parts := exported.FindStringSubmatch(m)
		return parts[1] + strings.Repeat(" ", len(parts[2])) + parts[3]
	})
}

// parse compiles a script. Positions are those of its source map, when it brings one
// with it; the engine's own loader would read whatever file a script names as its map.
func parse(name, source string) (*goja.Program, error) {
	noFile := parser.WithSourceMapLoader(func(string) ([]byte, error) { return nil, nil })
	tree, err := goja.Parse(name, withoutExports(source), noFile)
	var p *goja.Program
	if err == nil {
		p, err = goja.CompileAST(tree, true)
	}
	if err != nil {
		return nil, fmt.Errorf("the script cannot be read: %s", bounded(err.Error()))
	}
	return p, nil
}

var declares = regexp.MustCompile(`\b(transform|transformEvent)\b`)

// lint reads a script without running any of it.
func lint(name, source string) error {
	if _, err := parse(name, source); err != nil {
		return err
	}
	if !declares.MatchString(source) {
		return errors.New("the script has no function transform")
	}
	return nil
}

const maxMessage = 500

func bounded(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if r := []rune(text); len(r) > maxMessage {
		return string(r[:maxMessage]) + "…"
	}
	return text
}

// apply runs the script for every subject.
func (sc *script) apply(ctx context.Context, name string, chosen []*subject) error {
	tasks := make([]task, len(chosen))
	for i, s := range chosen {
		tasks[i] = taskOf(s)
	}
	results, err := sc.workers.run(ctx, sc, tasks)
	if err != nil {
		return err
	}
	for i, s := range chosen {
		r := &results[i]
		s.logs = append(s.logs, r.Logs...)
		switch {
		case r.Code != "":
			s.fail(r.Code, "%s: %s", name, r.Message)
		case r.Drop:
			s.verdict.Fate = judge.Drop
		case !scan.Value(r.Event).IsObject():
			s.fail(CodeFailed, "%s: the result is no object", name)
		default:
			var d scan.Document // what came over the pipe is a stranger's text
			if err := d.Scan(r.Event, 1); err != nil && !errors.Is(err, scan.ErrTooManyEvents) {
				s.fail(CodeFailed, "%s: the result is no event: %s", name, err)
				continue
			}
			s.replace(r.Event)
		}
	}
	return nil
}

// taskOf is what a script gets of an event.
func taskOf(s *subject) task {
	o := s.open()
	ev := s.item.Event
	text := o.Append(nil)
	if o.Get("type").Empty() || o.Get("messageId").Empty() { // the server named them
		named, _ := edit.Open(scan.Value(text))
		named.Set(edit.AppendText(nil, string(s.item.Type)), "type")
		named.Set(edit.AppendText(nil, s.item.ID), "messageId")
		text = named.Append(nil)
	}
	sum := sha256.Sum256([]byte(ev.Source + "\x00" + s.item.ID))
	return task{
		Event: text, Source: ev.Source, MessageID: s.item.ID, ReceivedAt: ev.ReceivedAt.UnixMicro(), RequestIP: ev.RequestIP,
		Seed: [2]uint64{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])},
	}
}
