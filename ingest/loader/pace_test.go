package loader

import (
	"testing"
	"time"
)

func TestTheLoaderStandsBackOnlyWhenItCannotKeepUp(t *testing.T) {
	t.Parallel()
	start := epoch()
	for _, c := range []struct {
		name            string
		worked          time.Duration
		arrived, loaded int64
		want            time.Duration
	}{
		{"nothing arrives", 200 * time.Millisecond, 0, 20_000, 0},
		{"it keeps up", 200 * time.Millisecond, 20_000, 20_000, 0},
		{"it does not", 200 * time.Millisecond, 20_001, 20_000, 300 * time.Millisecond},
		{"a long part", 10 * time.Second, 1_000_000, 20_000, maxRest},
		{"a clock that stands", 0, 1_000_000, 20_000, 0},
		{"a clock that goes back", -time.Second, 1_000_000, 20_000, 0},
	} {
		p := pace{share: 0.4}
		p.begin(start, 1_000_000)
		if got := p.rest(start.Add(c.worked), 1_000_000+c.arrived, c.loaded); got != c.want {
			t.Errorf("%s: rests %v, want %v", c.name, got, c.want)
		}
	}
}
