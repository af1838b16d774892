package app

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/alert"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/ingest/forward"
)

// Forwards returns every forward's status, sorted by name.
func (h *Hub) Forwards(ctx context.Context) ([]api.ForwardStatus, error) {
	list := []api.ForwardStatus{}
	for _, def := range h.active.Load().project.Forwards {
		st, err := h.forwardStatus(ctx, def)
		if err != nil {
			return nil, err
		}
		list = append(list, st)
	}
	return list, nil
}

// Forward returns one forward's status.
func (h *Hub) Forward(ctx context.Context, name string) (api.ForwardStatus, error) {
	def, err := h.findForward(name)
	if err != nil {
		return api.ForwardStatus{}, err
	}
	return h.forwardStatus(ctx, def)
}

func (h *Hub) findForward(name string) (tidegate.Forward, error) {
	for _, def := range h.active.Load().project.Forwards {
		if def.Name == name {
			return def, nil
		}
	}
	return tidegate.Forward{}, &tidegate.Fault{Action: tidegate.Halt, Code: "forward.not_found", Subject: forwardPrefix + name, Message: fmt.Sprintf("there is no forward %q", name), Hint: "`tidegate forward list` lists them"}
}

func (h *Hub) forwardStatus(ctx context.Context, def tidegate.Forward) (api.ForwardStatus, error) {
	out := api.ForwardStatus{Name: def.Name, Destination: def.Destination, Object: def.Object, Mode: string(def.Mode), State: forward.Opening}
	counts, err := h.letters(def.Name).Count(ctx)
	if err != nil {
		return out, err
	}
	out.Waiting, out.Dead = counts.Waiting, counts.Dead
	f := h.forwards.get(def.Name)
	if f == nil {
		return out, nil
	}
	s := f.Status()
	out.State, out.Since, out.Reason = s.State, s.Since, reasonOf(s.Fault)
	out.LagEvents, out.LagBytes, out.InMemory, out.Overrun, out.Safety, out.Progress = s.Backlog.Events, s.Backlog.Bytes, s.InMemory, s.Overrun, s.Safety, s.Tally
	if s.Backlog.Events > 0 {
		out.LagSeconds = max(0, h.o.Now().Sub(s.Backlog.Oldest).Seconds())
	}
	return out, nil
}

func reasonOf(f *tidegate.Fault) string {
	switch {
	case f == nil:
		return ""
	case f.Hint != "":
		return f.Error() + "; " + f.Hint
	}
	return f.Error()
}

func (h *Hub) letters(name string) *store.Letters {
	return h.runs.In(tidegate.DefaultWorkspace).Letters(name)
}

// PauseForward holds a forward, or lets it go on and try at once.
func (h *Hub) PauseForward(ctx context.Context, name string, pause bool) error {
	def, err := h.findForward(name)
	if err != nil {
		return err
	}
	if !pause && def.Paused {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "forward.conflict", Subject: forwardPrefix + name, Message: "its definition says that it is paused", Hint: "take `paused` out of the definition and apply it"}
	}
	if err := h.runs.In(tidegate.DefaultWorkspace).PutForward(ctx, store.ForwardState{Name: name, Started: true, Paused: pause}); err != nil {
		return err
	}
	if f := h.forwards.get(name); f != nil {
		f.Pause(pause)
		if !pause {
			f.RetryNow()
		}
	}
	return nil
}

// DeadEvents lists a forward's dead letters, newest first.
func (h *Hub) DeadEvents(ctx context.Context, name string, filter api.DeadFilter) ([]api.DeadEvent, error) {
	if _, err := h.findForward(name); err != nil {
		return nil, err
	}
	list, err := h.deadLetters(ctx, name, filter)
	if err != nil {
		return nil, err
	}
	out := make([]api.DeadEvent, len(list))
	for i := range list {
		l := &list[i]
		out[i] = api.DeadEvent{
			Position: l.Position, Source: l.Source, MessageID: l.MessageID, Type: string(l.Type), Name: l.Name, User: l.User, ReceivedAt: l.ReceivedAt, DiedAt: l.DiedAt,
			Attempts: l.Attempts, Code: l.Code, Message: l.Message, Hint: l.Hint, Event: json.RawMessage("null"),
		}
		if ev, err := l.Decode(); err == nil && json.Valid(ev.Body) {
			out[i].Event = ev.Body
		}
	}
	return out, nil
}

// deadLetters reads what a filter chooses, newest first.
func (h *Hub) deadLetters(ctx context.Context, name string, filter api.DeadFilter) ([]forward.Letter, error) {
	if filter.Position == nil {
		return h.letters(name).DeadLetters(ctx, filter.Code, filter.Before, filter.Limit)
	}
	list, err := h.letters(name).Get(ctx, []int64{*filter.Position})
	if err != nil || len(list) == 0 || !list[0].Dead || filter.Code != "" && list[0].Code != filter.Code {
		return nil, err
	}
	return list, nil
}

// DeadCauses counts a forward's dead letters by their codes.
func (h *Hub) DeadCauses(ctx context.Context, name string) ([]store.LetterCause, error) {
	if _, err := h.findForward(name); err != nil {
		return nil, err
	}
	return h.letters(name).Causes(ctx, 100)
}

const (
	deadPage = 500
	// maxRevived are sent again by one call: they wait in the store, which is bounded.
	maxRevived = 10_000
)

// RetryDead makes dead letters wait again, oldest of the chosen last.
func (h *Hub) RetryDead(ctx context.Context, name string, filter api.DeadFilter) (int64, error) {
	return h.eachDead(ctx, name, filter, maxRevived, func(list []forward.Letter) (int64, error) {
		n, err := h.letters(name).Revive(ctx, positionsOf(list))
		if f := h.forwards.get(name); f != nil && err == nil {
			f.Adopt(revived(list))
		}
		return n, err
	})
}

// DiscardDead forgets dead letters for good.
func (h *Hub) DiscardDead(ctx context.Context, name string, filter api.DeadFilter) (int64, error) {
	return h.eachDead(ctx, name, filter, 0, func(list []forward.Letter) (int64, error) {
		return h.letters(name).Discard(ctx, positionsOf(list))
	})
}

// eachDead hands the chosen dead letters to use, page by page; at most limit (0: all).
func (h *Hub) eachDead(ctx context.Context, name string, filter api.DeadFilter, limit int64, use func([]forward.Letter) (int64, error)) (total int64, err error) {
	if _, err := h.findForward(name); err != nil {
		return 0, err
	}
	filter.Limit = deadPage
	for {
		list, err := h.deadLetters(ctx, name, filter)
		if err != nil || len(list) == 0 {
			return total, err
		}
		n, err := use(list)
		total += n
		if err != nil || filter.Position != nil || limit > 0 && total >= limit {
			return total, err
		}
		filter.Before = list[len(list)-1].Position
		if filter.Before == 0 {
			return total, nil
		}
	}
}

func positionsOf(list []forward.Letter) []int64 {
	positions := make([]int64, len(list))
	for i := range list {
		positions[i] = list[i].Position
	}
	return positions
}

// revived are letters as the store has them after Revive, oldest first.
func revived(list []forward.Letter) []forward.Letter {
	out := make([]forward.Letter, 0, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		l := list[i]
		out = append(out, forward.Letter{
			Position: l.Position, Lanes: l.Lanes, Source: l.Source, MessageID: l.MessageID, Type: l.Type, Name: l.Name, User: l.User, ReceivedAt: l.ReceivedAt,
			Code: l.Code, Message: l.Message, Hint: l.Hint,
		})
	}
	return out
}

// forwardStages says how far behind each forward is. One that does not deliver
// does not make the hub unready.
func (h *Hub) forwardStages() []api.Stage {
	var stages []api.Stage
	for _, def := range h.active.Load().project.Forwards {
		f := h.forwards.get(def.Name)
		if f == nil {
			stages = append(stages, api.Stage{Name: forwardPrefix + def.Name, Detail: "not started"})
			continue
		}
		s := f.Status()
		stage := api.Stage{Name: forwardPrefix + def.Name, Ready: s.State == forward.Running, LagEvents: s.Backlog.Events, LagBytes: s.Backlog.Bytes, Detail: string(s.State)}
		if s.Fault != nil {
			stage.Detail = string(s.State) + ": " + reasonOf(s.Fault)
		}
		if s.Backlog.Events > 0 {
			stage.LagSeconds = max(0, h.o.Now().Sub(s.Backlog.Oldest).Seconds())
		}
		stages = append(stages, stage)
	}
	return stages
}

// standingForwards tells alerts how the forwards stand.
func (h *Hub) standingForwards() []alert.Standing {
	var list []alert.Standing
	for _, def := range h.active.Load().project.Forwards {
		f := h.forwards.get(def.Name)
		if f == nil {
			continue
		}
		s := f.Status()
		st := alert.Standing{Sync: forwardPrefix + def.Name, Forward: true, Dead: s.Letters.Dead}
		switch {
		case s.State == forward.Halted || s.State == forward.Down:
			st.Fault = tidegate.StoredFault(s.Fault)
		case s.Overrun:
			st.Fault = &tidegate.RunFault{Code: "forward.overrun", Message: "it holds more of the journal than it may, and gives its oldest events up", Hint: "raise delivery.hold_bytes, or the destination's limits"}
		}
		list = append(list, st)
	}
	return list
}

// checkForwards opens every forward's destination and compiles its mapping.
func (h *Hub) checkForwards(ctx context.Context) []api.Finding {
	var findings []api.Finding
	for _, def := range h.active.Load().project.Forwards {
		f := api.Finding{Check: forwardPrefix + def.Name, Level: "ok", Detail: "filter, mapping and destination fit"}
		opened, err := h.openForward(ctx, def)
		if err == nil {
			err = opened.Close()
		}
		if err != nil {
			fault := tidegate.FaultOf(err)
			f.Level, f.Detail, f.Hint = "error", fault.Error(), fault.Hint
		} else if counts, err := h.letters(def.Name).Count(ctx); err == nil && counts.Dead > 0 {
			f.Level, f.Detail, f.Hint = "warning", fmt.Sprintf("%d events are dead letters", counts.Dead), "tidegate forward dead "+def.Name+" --causes"
		}
		findings = append(findings, f)
	}
	return findings
}
