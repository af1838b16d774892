package ledger

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate"
)

// TestDecideExhaustively holds the table to the rules that no row of it may
// break, over every combination of what can be known of a key.
func TestDecideExhaustively(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	bools := []bool{false, true}
	tried := 0
	for _, present := range bools {
		for _, confirmed := range bools {
			for _, doubted := range bools {
				for _, state := range []string{stateAcked, stateFailed, stateInDoubt, stateExcluded} {
					for _, attemptedOp := range []tidegate.Op{tidegate.Added, tidegate.Changed, tidegate.Removed} {
						for _, after := range []string{"confirmed", "attempted", "new", ""} {
							for _, next := range []time.Time{{}, now.Add(-1), now, now.Add(1)} {
								for _, mode := range []tidegate.Mode{"", tidegate.Upsert, tidegate.Mirror} {
									hash := map[string]int64{"confirmed": 1, "attempted": 2, "new": 3}
									c := candidate{present: present, known: true, confirmed: confirmed, doubted: doubted, state: state, attemptedOp: string(attemptedOp), after: after, afterHash: hash[after], attempted: "attempted", attemptedHash: 2, next: next, fingerprint: 1}
									if confirmed {
										c.payload, c.payloadHash = "confirmed", 1
									}
									if after == "" {
										c.fault = &tidegate.Fault{Code: "x"}
									}
									tried++
									checkVerdict(t, c, decide(&c, rules{now: now, mode: mode}), now, mode)
								}
							}
						}
					}
				}
			}
		}
	}
	if tried != 2*2*2*4*3*4*4*3 {
		t.Fatal(tried)
	}
	if v := decide(&candidate{present: true}, rules{now: now}); v != (verdict{op: tidegate.Added}) {
		t.Fatalf("a new key: %+v", v)
	}
}

func checkVerdict(t *testing.T, c candidate, v verdict, now time.Time, mode tidegate.Mode) {
	t.Helper()
	due := !c.next.IsZero() && !c.next.After(now)
	same := c.after == "attempted" && c.attemptedOp != string(tidegate.Removed)
	for _, rule := range []struct {
		name   string
		broken bool
	}{
		{"a key that the model has is not removed", c.present && v.op == tidegate.Removed},
		{"a key that was never there is not removed", !c.present && !c.confirmed && !c.doubted && v.op != ""},
		{"what may be there is not forgotten", v.house == opForget && (c.present || c.confirmed || c.doubted)},
		{"a doubt ends only by delivery", c.doubted && v.house != ""},
		{"only the confirmed payload is the same", v.house == opSame && (c.after != "confirmed" || !c.confirmed)},
		{"the confirmed payload is not sent without a doubt", c.present && c.confirmed && !c.doubted && c.after == "confirmed" && v.op != ""},
		{"changed means confirmed before", v.op == tidegate.Changed && !c.confirmed},
		{"added means not confirmed before", v.op == tidegate.Added && c.confirmed},
		{"a new value goes at once", c.present && c.after == "new" && v.op == ""},
		{"a retry is due", v.retry && (!due || c.state == stateExcluded || c.state == stateAcked)},
		{"what is not due waits", c.present && same && !due && (c.state == stateFailed || c.state == stateInDoubt) && v.op != ""},
		{"an idempotency key is kept only for a retry of one operation", v.keepKey && (!v.retry || c.attemptedOp != string(v.op))},
		{"what the mode still excludes waits", c.state == stateExcluded && same && c.present && c.confirmed && mode != "" && !mode.Lets(tidegate.Changed) && v.op != ""},
	} {
		if rule.broken {
			t.Errorf("%s: %+v gave %+v", rule.name, c, v)
		}
	}
}
