package project

import (
	"fmt"
	"slices"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/live"
	"github.com/tidegate/tidegate/internal/config"
)

// Journal says how long events stay in the journal after every reader has passed
// them, for replays and streams. When the disk fills up they go earlier.
type Journal struct {
	Retain      string `json:"retain,omitempty" default:"168h" format:"duration" doc:"How long, a duration such as 168h; 0s lets them go at once."`
	RetainBytes int64  `json:"retain_bytes,omitempty" default:"4294967296" min:"0" doc:"At most so many bytes, whatever their age."`
}

func (c *checker) allStreams() {
	unique(c, c.streams, "stream", func(v tidegate.Stream) string { return v.Name })
	sources := names(c.sources, func(v tidegate.Source) string { return v.Name })
	for _, it := range c.streams {
		for i, s := range it.value.Sources {
			if !slices.Contains(sources, s) {
				c.add(it.problem(fmt.Sprintf("sources[%d]", i), fmt.Sprintf("there is no source %q", s), config.DidYouMean(s, sources)))
			}
		}
		if _, err := live.Compile(live.Match{Expression: it.value.Filter}); err != nil {
			f := tidegate.FaultOf(err)
			c.add(it.problem("filter", f.Message, f.Hint))
		}
	}
}
