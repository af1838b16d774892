package runner

import (
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/ledger"
)

// Effect is something that Step wants done. Each is answered by one event: the
// one that its comment names, or EffectFailed. WakeAt, Interrupt and GiveUpLease
// are not answered (a WakeAt leads to a Tick).
type Effect interface{ effect() }

// The effects.
type (
	// StoreRun replaces the stored run where it is From. → RunStored
	StoreRun struct {
		Run  tidegate.Run
		From tidegate.RunState
	}
	// MakePlan plans the run or finds its stored plan. → PlanStored
	MakePlan struct{}
	// SurveyPlan looks for identifier values that two changes of the plan share. → PlanSurveyed
	SurveyPlan struct{}
	// ReadWindow reads changes of the plan from ordinal From. → WindowRead
	ReadWindow struct {
		From int64
		Max  int
		// Into is room that nobody needs any more, to be filled where it is large enough.
		Into []ledger.Planned
	}
	// StoreIntent makes durable that First..Last may leave. → IntentStored
	StoreIntent struct{ First, Last int64 }
	// SendBatch makes one call of the destination. → BatchAnswered, always
	SendBatch struct {
		ID    int64
		Batch destinations.Batch
		// Befores are the confirmed records of the items, where Config.Befores asks for them.
		Befores []tidegate.Record
	}
	// PollTicket asks what became of a write that the destination accepted. → TicketAnswered, always
	PollTicket struct {
		ID     int64
		Ticket destinations.Ticket
		Batch  destinations.Batch
	}
	// StoreResults makes outcomes durable in the ledger; Results are valid until it is answered. → ResultsStored
	StoreResults struct{ Results []ledger.Result }
	// DropPlan folds the results into the ledger and drops the plan. → PlanDropped
	DropPlan struct{}
	// WakeAt asks for a Tick at At; it replaces an earlier WakeAt.
	WakeAt struct{ At time.Time }
	// Interrupt ends a MakePlan or SurveyPlan that is under way; that effect then fails.
	Interrupt struct{}
	// GiveUpLease is the last effect of a run.
	GiveUpLease struct{}
)

func (StoreRun) effect()     {}
func (MakePlan) effect()     {}
func (SurveyPlan) effect()   {}
func (ReadWindow) effect()   {}
func (StoreIntent) effect()  {}
func (SendBatch) effect()    {}
func (PollTicket) effect()   {}
func (StoreResults) effect() {}
func (DropPlan) effect()     {}
func (WakeAt) effect()       {}
func (Interrupt) effect()    {}
func (GiveUpLease) effect()  {}

// Event is something that happened.
type Event interface{ event() }

// The events.
type (
	// Begin is the first event of a run.
	Begin struct{}
	// RunStored answers StoreRun.
	RunStored struct{}
	// PlanStored answers MakePlan: the plan is durable, and this is how far its delivery came.
	PlanStored struct{ Progress ledger.Progress }
	// PlanSurveyed answers SurveyPlan with the changes that clash, by ordinal.
	PlanSurveyed struct{ Clashes map[int64]Clash }
	// WindowRead answers ReadWindow; End says that the plan has no further changes.
	WindowRead struct {
		Changes []ledger.Planned
		End     bool
	}
	// IntentStored answers StoreIntent.
	IntentStored struct{}
	// BatchAnswered answers SendBatch. Unsent says that no request left; Err may say why.
	BatchAnswered struct {
		ID       int64
		Outcomes []destinations.Outcome
		// Notes say, per record, what of a delivered one was left as it is; nil: nothing of any.
		Notes  []*tidegate.Fault
		Err    error
		Unsent bool
	}
	// TicketAnswered answers PollTicket.
	TicketAnswered struct {
		ID       int64
		Outcomes []destinations.Outcome
		Done     bool
		Err      error
		Unsent   bool
	}
	// ResultsStored answers StoreResults.
	ResultsStored struct{}
	// PlanDropped answers DropPlan.
	PlanDropped struct{}
	// EffectFailed answers any effect but SendBatch and PollTicket.
	EffectFailed struct {
		Effect Effect
		Err    error
	}
	// Tick says that the time of the last WakeAt has come.
	Tick struct{}
	// LeaseRenewed says until when the run may send.
	LeaseRenewed struct{ Until time.Time }
	// LeaseGone says that another runner has the lease.
	LeaseGone struct{}
	// CancelAsked says that somebody wants the run to stop for good.
	CancelAsked struct{}
	// StopAsked says that the process goes down; the run is resumed later.
	StopAsked struct{}
)

func (Begin) event()          {}
func (RunStored) event()      {}
func (PlanStored) event()     {}
func (PlanSurveyed) event()   {}
func (WindowRead) event()     {}
func (IntentStored) event()   {}
func (BatchAnswered) event()  {}
func (TicketAnswered) event() {}
func (ResultsStored) event()  {}
func (PlanDropped) event()    {}
func (EffectFailed) event()   {}
func (Tick) event()           {}
func (LeaseRenewed) event()   {}
func (LeaseGone) event()      {}
func (CancelAsked) event()    {}
func (StopAsked) event()      {}

// Input is an event and when it happened.
type Input struct {
	At    time.Time
	Event Event
}
