package analytics

import (
	"encoding/json"
	"fmt"
	"net"
)

// Context is the surroundings of a message: the app, the device, the page.
// Empty parts are not sent.
type Context struct {
	App       AppInfo      `json:"app,omitempty"`
	Campaign  CampaignInfo `json:"campaign,omitempty"`
	Device    DeviceInfo   `json:"device,omitempty"`
	Library   LibraryInfo  `json:"library,omitempty"`
	Location  LocationInfo `json:"location,omitempty"`
	Network   NetworkInfo  `json:"network,omitempty"`
	OS        OSInfo       `json:"os,omitempty"`
	Page      PageInfo     `json:"page,omitempty"`
	Referrer  ReferrerInfo `json:"referrer,omitempty"`
	Screen    ScreenInfo   `json:"screen,omitempty"`
	IP        net.IP       `json:"ip,omitempty"`
	Locale    string       `json:"locale,omitempty"`
	Timezone  string       `json:"timezone,omitempty"`
	UserAgent string       `json:"userAgent,omitempty"`
	Traits    Traits       `json:"traits,omitempty"`

	// Extra are members that this struct does not know; they stand beside the
	// others in JSON. A member that is set above wins over one of its name here.
	Extra map[string]any `json:"-"`
}

// AppInfo is the app that sends.
type AppInfo struct {
	Name      string `json:"name,omitempty"`
	Version   string `json:"version,omitempty"`
	Build     string `json:"build,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// CampaignInfo is the campaign that brought the user, from utm parameters.
type CampaignInfo struct {
	Name    string `json:"name,omitempty"`
	Source  string `json:"source,omitempty"`
	Medium  string `json:"medium,omitempty"`
	Term    string `json:"term,omitempty"`
	Content string `json:"content,omitempty"`
}

// DeviceInfo is the user's device.
type DeviceInfo struct {
	Id            string `json:"id,omitempty"`
	Manufacturer  string `json:"manufacturer,omitempty"`
	Model         string `json:"model,omitempty"`
	Name          string `json:"name,omitempty"`
	Type          string `json:"type,omitempty"`
	Version       string `json:"version,omitempty"`
	AdvertisingID string `json:"advertisingId,omitempty"`
}

// LibraryInfo is the library that sends; a Client fills it in.
type LibraryInfo struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// LocationInfo is where the user is.
type LocationInfo struct {
	City      string  `json:"city,omitempty"`
	Country   string  `json:"country,omitempty"`
	Region    string  `json:"region,omitempty"`
	Latitude  float64 `json:"latitude,omitempty"`
	Longitude float64 `json:"longitude,omitempty"`
	Speed     float64 `json:"speed,omitempty"`
}

// NetworkInfo is the user's network.
type NetworkInfo struct {
	Bluetooth bool   `json:"bluetooth,omitempty"`
	Cellular  bool   `json:"cellular,omitempty"`
	WIFI      bool   `json:"wifi,omitempty"`
	Carrier   string `json:"carrier,omitempty"`
}

// OSInfo is the user's operating system.
type OSInfo struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// PageInfo is the page that the user is on.
type PageInfo struct {
	Hash     string `json:"hash,omitempty"`
	Path     string `json:"path,omitempty"`
	Referrer string `json:"referrer,omitempty"`
	Search   string `json:"search,omitempty"`
	Title    string `json:"title,omitempty"`
	URL      string `json:"url,omitempty"`
}

// ReferrerInfo is what led the user here.
type ReferrerInfo struct {
	Type string `json:"type,omitempty"`
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
	Link string `json:"link,omitempty"`
}

// ScreenInfo is the user's screen.
type ScreenInfo struct {
	Density int `json:"density,omitempty"`
	Width   int `json:"width,omitempty"`
	Height  int `json:"height,omitempty"`
}

// contextMembers are the names that Extra may not take when the field is set.
var contextMembers = []string{
	"app", "campaign", "device", "library", "location", "network", "os", "page", "referrer", "screen",
	"ip", "locale", "timezone", "userAgent", "traits",
}

// MarshalJSON leaves empty parts out and puts Extra beside the others.
func (c Context) MarshalJSON() ([]byte, error) { return appendContext(nil, &c) }

// UnmarshalJSON puts members that the struct does not know into Extra.
func (c *Context) UnmarshalJSON(text []byte) error {
	type plain Context // without this method
	var known plain
	if err := json.Unmarshal(text, &known); err != nil {
		return fmt.Errorf("decoding a context: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("decoding a context: %w", err)
	}
	for _, name := range contextMembers {
		delete(all, name)
	}
	*c = Context(known)
	if len(all) > 0 {
		c.Extra = all
	}
	return nil
}

// over returns a context with the members of c, and those of below where c has none.
func (c *Context) over(below *Context) *Context {
	if c == nil || below == nil {
		if c == nil {
			return below
		}
		return c
	}
	merged := *c
	fill(&merged.App, below.App)
	fill(&merged.Campaign, below.Campaign)
	fill(&merged.Device, below.Device)
	fill(&merged.Library, below.Library)
	fill(&merged.Location, below.Location)
	fill(&merged.Network, below.Network)
	fill(&merged.OS, below.OS)
	fill(&merged.Page, below.Page)
	fill(&merged.Referrer, below.Referrer)
	fill(&merged.Screen, below.Screen)
	fill(&merged.Locale, below.Locale)
	fill(&merged.Timezone, below.Timezone)
	fill(&merged.UserAgent, below.UserAgent)
	if len(merged.IP) == 0 {
		merged.IP = below.IP
	}
	if merged.Traits == nil {
		merged.Traits = below.Traits
	}
	merged.Extra = union(c.Extra, below.Extra)
	return &merged
}

func fill[T comparable](dst *T, value T) {
	var zero T
	if *dst == zero {
		*dst = value
	}
}

func union(over, below map[string]any) map[string]any {
	if len(over) == 0 || len(below) == 0 {
		if len(over) == 0 {
			return below
		}
		return over
	}
	both := make(map[string]any, len(over)+len(below))
	for name, value := range below {
		both[name] = value
	}
	for name, value := range over {
		both[name] = value
	}
	return both
}
