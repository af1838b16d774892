package forward

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// mutant is a planted bug: it bends what goes into or comes out of a forward the
// way a wrong one would behave. Each must be caught by the histories' checks; a
// checker that cannot fail proves nothing.
type mutant struct {
	name    string
	answer  func(b destinations.Batch, outcomes []destinations.Outcome, err error) ([]destinations.Outcome, error)
	options func(o *Options)
	forward func(f *Forward)
}

// bentStore is a Store of which single methods are wrong.
type bentStore struct {
	Store
	put     func(Store, []Letter) error
	remove  func(Store, []int64) error
	waiting func(Store) ([]Letter, error)
}

func (s bentStore) Put(ctx context.Context, letters []Letter) error {
	if s.put != nil {
		return s.put(s.Store, letters)
	}
	return s.Store.Put(ctx, letters)
}

func (s bentStore) Remove(ctx context.Context, positions []int64) error {
	if s.remove != nil {
		return s.remove(s.Store, positions)
	}
	return s.Store.Remove(ctx, positions)
}

func (s bentStore) Waiting(ctx context.Context) ([]Letter, error) {
	if s.waiting != nil {
		return s.waiting(s.Store)
	}
	return s.Store.Waiting(ctx)
}

// bentReader commits elsewhere.
type bentReader struct {
	Reader
	next func(next int64) int64
}

func (r bentReader) Commit(ctx context.Context, next tidegate.Offset) error {
	next.Position = r.next(next.Position)
	return r.Reader.Commit(ctx, next)
}

type bentMapper struct {
	Mapper
	bend func(e *View, m Mapped) Mapped
}

func (m bentMapper) Map(e *View) (Mapped, *tidegate.Fault) {
	out, fault := m.Mapper.Map(e)
	return m.bend(e, out), fault
}

func storing(bend func(*bentStore)) func(*Options) {
	return func(o *Options) {
		s := bentStore{Store: o.Store}
		bend(&s)
		o.Store = s
	}
}

func keeping(keep func(Letter) bool) func(*Options) {
	return storing(func(s *bentStore) {
		s.put = func(s Store, letters []Letter) error {
			kept := slices.DeleteFunc(slices.Clone(letters), func(l Letter) bool { return !keep(l) })
			return s.Put(context.Background(), kept)
		}
	})
}

func faulty(action tidegate.Action, err error) bool {
	f := tidegate.FaultOf(err)
	return f != nil && f.Action == action
}

func eachOutcome(bend func(*destinations.Outcome)) func(destinations.Batch, []destinations.Outcome, error) ([]destinations.Outcome, error) {
	return func(_ destinations.Batch, outcomes []destinations.Outcome, err error) ([]destinations.Outcome, error) {
		for i := range outcomes {
			bend(&outcomes[i])
		}
		return outcomes, err
	}
}

func mutants() []mutant {
	return []mutant{
		{name: "a failed call counts as delivered", answer: func(b destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if faulty(tidegate.Retry, err) {
				return delivered(len(b.Items)), nil
			}
			return o, err
		}},
		{name: "a throttled call counts as delivered", answer: func(b destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if faulty(tidegate.Throttle, err) {
				return delivered(len(b.Items)), nil
			}
			return o, err
		}},
		{name: "a throttled call is a rejection", answer: func(_ destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if faulty(tidegate.Throttle, err) {
				return o, &tidegate.Fault{Action: tidegate.Reject, Code: "rate"}
			}
			return o, err
		}},
		{name: "a halted call is a rejection", answer: func(_ destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if faulty(tidegate.Halt, err) {
				return o, &tidegate.Fault{Action: tidegate.Reject, Code: "auth"}
			}
			return o, err
		}},
		{name: "a batch refused as a whole rejects every record", answer: func(b destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if faulty(tidegate.Reject, err) {
				o = make([]destinations.Outcome, len(b.Items))
				for i := range o {
					o[i].Disposition = destinations.Rejected
				}
				return o, nil
			}
			return o, err
		}},
		{name: "records that the answer does not name count as delivered", answer: func(b destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if err == nil && len(o) < len(b.Items) {
				return delivered(len(b.Items)), nil
			}
			return o, err
		}},
		{name: "rejected counts as delivered", answer: eachOutcome(func(o *destinations.Outcome) {
			if o.Disposition == destinations.Rejected {
				*o = destinations.Outcome{Disposition: destinations.Delivered}
			}
		})},
		{name: "put off counts as delivered", answer: eachOutcome(func(o *destinations.Outcome) {
			if o.Disposition == destinations.Deferred {
				*o = destinations.Outcome{Disposition: destinations.Delivered}
			}
		})},
		{name: "put off counts as rejected", answer: eachOutcome(func(o *destinations.Outcome) {
			if o.Disposition == destinations.Deferred {
				o.Disposition = destinations.Rejected
			}
		})},
		{name: "outcomes are shifted by one", answer: func(_ destinations.Batch, o []destinations.Outcome, err error) ([]destinations.Outcome, error) {
			if len(o) > 1 {
				o = append(slices.Clone(o[1:]), o[0])
			}
			return o, err
		}},
		{name: "waiting letters are not written", options: keeping(func(l Letter) bool { return l.Dead })},
		{name: "dead letters are not written", options: keeping(func(l Letter) bool { return !l.Dead })},
		{name: "an error of the store counts as written", options: storing(func(s *bentStore) {
			s.put = func(s Store, letters []Letter) error { _ = s.Put(context.Background(), letters); return nil }
		})},
		{name: "delivered letters stay", options: storing(func(s *bentStore) { s.remove = func(Store, []int64) error { return nil } })},
		{name: "a start forgets the waiting letters", options: storing(func(s *bentStore) { s.waiting = func(Store) ([]Letter, error) { return nil, nil } })},
		{name: "a start forgets one waiting letter", options: storing(func(s *bentStore) {
			s.waiting = func(s Store) ([]Letter, error) {
				list, err := s.Waiting(context.Background())
				return list[:max(0, len(list)-1)], err
			}
		})},
		{name: "the cursor is one too far", options: func(o *Options) {
			o.Reader = bentReader{o.Reader, func(next int64) int64 { return next + 1 }}
		}},
		{name: "the cursor is what was read", forward: func(f *Forward) {
			f.o.Reader = bentReader{f.o.Reader, func(int64) int64 {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.lanes.read
			}}
		}},
		{name: "an event has no lane of its user", options: mapping(func(_ *View, m Mapped) Mapped { return m }, true)},
		{name: "the idempotency key changes", options: func(o *Options) { o.Def.Name += o.Now().String() }},
		{name: "events are given up too early", options: func(o *Options) { o.Limits.Retry = 5 * time.Second }},
		{name: "a full store gives events up", options: func(o *Options) {
			o.Backlog = func() Backlog { return Backlog{Events: 100, Bytes: 100} }
			o.Limits.Hold = 1
		}},
		{name: "memory is not bounded", options: func(o *Options) { o.Limits.Units = 100_000 }},
		{name: "the mapper's fault is not kept", options: func(o *Options) { o.Judge = nil; o.Judge = dropBad{} }},
	}
}

func mapping(bend func(*View, Mapped) Mapped, anonymous bool) func(*Options) {
	return func(o *Options) {
		open := o.Open
		o.Open = func(ctx context.Context) (*Opened, error) {
			opened, err := open(ctx)
			if err != nil {
				return nil, err
			}
			bent := *opened
			bent.Mapper = bentMapper{opened.Mapper, func(e *View, m Mapped) Mapped {
				if anonymous {
					delete(e.body, "userId")
				}
				return bend(e, m)
			}}
			return &bent, nil
		}
	}
}

// TestMutants kills every planted bug.
func TestMutants(t *testing.T) {
	t.Parallel()
	killed := 0
	for _, m := range mutants() {
		caught := ""
		for seed := uint64(0); seed < 30 && caught == ""; seed++ {
			synctest.Test(t, func(t *testing.T) {
				if w := history(t, seed, m); len(w.wrong) > 0 {
					caught = w.wrong[0]
				}
			})
		}
		if caught == "" {
			t.Errorf("the planted bug %q was not found", m.name)
			continue
		}
		killed++
	}
	t.Logf("%d of %d planted bugs were found", killed, len(mutants()))
}
