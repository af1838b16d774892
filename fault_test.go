package tidegate_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate"
)

func TestFaultOfJoined(t *testing.T) {
	t.Parallel()
	fault := func(code, subject string) *tidegate.Fault {
		return &tidegate.Fault{Action: tidegate.Halt, Code: code, Subject: subject, Message: "bad " + subject, Hint: "mend " + subject}
	}
	many := make([]error, 7)
	for i := range many {
		many[i] = fault("a.bad", fmt.Sprint(i))
	}
	inner := fault("a.bad", "x")
	inner.Err = errors.Join(fault("a.bad", "y"), fault("a.bad", "z"))
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"one":               {fault("a.bad", "x"), "bad x"},
		"joined alone":      {errors.Join(fault("a.bad", "x")), "bad x"},
		"two":               {fmt.Errorf("compiling: %w", errors.Join(fault("a.bad", "x"), fault("a.bad", "y"))), "bad x; y: bad y"},
		"two, and a Close":  {errors.Join(fmt.Errorf("planning: %w", errors.Join(fault("a.bad", "x"), fault("a.bad", "y"))), nil), "bad x; y: bad y"},
		"many":              {errors.Join(many...), "bad 0; 1: bad 1; 2: bad 2; 3: bad 3; 4: bad 4; and 2 more"},
		"alike":             {errors.Join(fault("a.bad", "x"), fault("a.bad", "x"), fault("a.bad", "y")), "bad x; y: bad y"},
		"of different code": {errors.Join(fault("a.bad", "x"), fault("b.bad", "y")), "bad x"},
		"with a plain one":  {errors.Join(fault("a.bad", "x"), errors.New("closing")), "bad x"},
		"causes":            {inner, "bad x"},
	} {
		f := tidegate.FaultOf(c.err)
		if f.Message != c.want {
			t.Errorf("%s: %q, want %q", name, f.Message, c.want)
		}
		if stored := tidegate.StoredFault(c.err); stored.Message != c.want {
			t.Errorf("%s: stored %q, want %q", name, stored.Message, c.want)
		}
	}
	if f := tidegate.FaultOf(errors.Join(many...)); f.Subject != "0" || f.Hint != "mend 0" || tidegate.FaultOf(many[0]).Message != "bad 0" { // the first itself is as it was
		t.Errorf("%+v", f)
	}
}
