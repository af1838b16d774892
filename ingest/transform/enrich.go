package transform

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mileusna/useragent"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

type userAgent struct{ from, to []string }

func buildUserAgent(def tidegate.UserAgentStep, problems *[]config.Problem) userAgent {
	return userAgent{
		single(orElse(def.From, "context.userAgent"), "user_agent.from", problems),
		single(orElse(def.To, "context.client"), "user_agent.to", problems),
	}
}

func orElse(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// client is what a user agent says.
type client struct {
	Browser        string `json:"browser,omitempty"`
	BrowserVersion string `json:"browser_version,omitempty"`
	OS             string `json:"os,omitempty"`
	OSVersion      string `json:"os_version,omitempty"`
	Device         string `json:"device,omitempty"`
	Kind           string `json:"kind"`
}

const maxUserAgent = 1024

func (u userAgent) apply(s *subject) error {
	text, ok := s.open().Get(u.from...).Text()
	if !ok || len(text) == 0 {
		return nil
	}
	ua := useragent.Parse(string(text[:min(len(text), maxUserAgent)]))
	c := client{Browser: ua.Name, BrowserVersion: ua.Version, OS: ua.OS, OSVersion: ua.OSVersion, Device: ua.Device, Kind: "other"}
	switch {
	case ua.Bot:
		c.Kind = "bot"
	case ua.Tablet:
		c.Kind = "tablet"
	case ua.Mobile:
		c.Kind = "mobile"
	case ua.Desktop:
		c.Kind = "desktop"
	}
	return s.put(c, u.to)
}

// put sets a value of ours.
func (s *subject) put(v any, at []string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding what is added: %w", err)
	}
	s.open().Set(text, at...)
	s.touch()
	return nil
}

// Geo knows where addresses are. It is safe for concurrent use.
type Geo struct {
	reader *maxminddb.Reader
}

// OpenGeo reads a database in MaxMind's format, which stays in memory.
func OpenGeo(data []byte) (*Geo, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("reading the database of places: %w", err)
	}
	return &Geo{reader: r}, nil
}

// record is what is read of an entry; of several databases (City, Country, ASN) each has a part.
type record struct {
	Country struct {
		ISO   string            `maxminddb:"iso_code"`
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"country"`
	Subdivisions []struct {
		ISO   string            `maxminddb:"iso_code"`
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"subdivisions"`
	City struct {
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"city"`
	Postal struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"postal"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
		TimeZone  string   `maxminddb:"time_zone"`
	} `maxminddb:"location"`
	ASN          uint   `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// where is what is added to the event.
type where struct {
	Country      string   `json:"country,omitempty"`
	CountryName  string   `json:"country_name,omitempty"`
	Region       string   `json:"region,omitempty"`
	RegionName   string   `json:"region_name,omitempty"`
	City         string   `json:"city,omitempty"`
	Postal       string   `json:"postal,omitempty"`
	Latitude     *float64 `json:"latitude,omitempty"`
	Longitude    *float64 `json:"longitude,omitempty"`
	TimeZone     string   `json:"timezone,omitempty"`
	ASN          uint     `json:"asn,omitempty"`
	Organization string   `json:"organization,omitempty"`
}

type geoIP struct {
	database string
	from, to []string // no from: the usual
	geo      *Geo
}

func buildGeoIP(def tidegate.GeoIPStep, problems *[]config.Problem) *geoIP {
	g := &geoIP{database: def.Database, to: single(orElse(def.To, "context.geo"), "geoip.to", problems)}
	if def.From != "" {
		g.from = single(def.From, "geoip.from", problems)
	}
	if def.Database == "" {
		*problems = append(*problems, config.Problem{Path: "geoip.database", Message: "is missing", Hint: "name a file in MaxMind's format (.mmdb) on the server"})
	}
	return g
}

func (g *geoIP) equip(o Options) (err error) {
	if o.Geo == nil {
		return errors.New("databases of places cannot be opened here")
	}
	g.geo, err = o.Geo(g.database)
	return err
}

func (g *geoIP) apply(s *subject) error {
	var raw scan.Value
	if g.from != nil {
		raw = s.open().Get(g.from...)
	} else {
		raw = s.open().Get("context", "ip")
	}
	text, _ := raw.Text()
	if len(text) == 0 && g.from == nil {
		text = []byte(s.item.Event.RequestIP)
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return nil //nolint:nilerr // nothing to look up
	}
	found := g.geo.reader.Lookup(ip.Unmap().WithZone(""))
	var r record
	if !found.Found() || found.Decode(&r) != nil {
		return nil //nolint:nilerr // the database knows nothing of it, or nothing of this kind
	}
	w := where{
		Country: r.Country.ISO, CountryName: r.Country.Names["en"], City: r.City.Names["en"], Postal: r.Postal.Code,
		Latitude: r.Location.Latitude, Longitude: r.Location.Longitude, TimeZone: r.Location.TimeZone, ASN: r.ASN, Organization: r.Organization,
	}
	if len(r.Subdivisions) > 0 {
		w.Region, w.RegionName = r.Subdivisions[0].ISO, r.Subdivisions[0].Names["en"]
	}
	return s.put(w, g.to)
}
