// Package project is the definitions of one hub as a document: what a folder
// of YAML and SQL says, what the API speaks as JSON, and what control/store
// keeps as versions.
//
// Invariants: a Project that Load or Check accepted has every reference
// resolved (a sync's model and destination exist), no name twice per kind, and
// every connector configuration valid for its kind; all problems of a folder
// are reported at once, each with its place; a secret in a project is a
// reference (`${env:NAME}`, `${file:PATH}`, `${secret:NAME}`), never the secret itself
// (Invariant 9), so that a project can be stored, exported and diffed as it is.
//
// It does not open connections, run SQL or touch the store. Nothing here has
// state: all functions are safe for concurrent use.
package project

import (
	"encoding/json"

	"github.com/tidegate/tidegate"
)

// Project is every definition of one hub. The file `tidegate.yaml` is this
// struct; `models/`, `syncs/`, `forwards/`, `destinations/`, `sources/`, `plans/`,
// `transforms/`, `libraries/` and `warehouses/` add to its lists.
type Project struct {
	Warehouse    Warehouse               `json:"warehouse" doc:"The warehouse into which everything is loaded, and from which models read that name no other."`
	Warehouses   []tidegate.Connection   `json:"warehouses,omitempty" doc:"Further warehouses, from which models may read."`
	Sources      []tidegate.Source       `json:"sources,omitempty" doc:"Where events come from."`
	Destinations []tidegate.Connection   `json:"destinations,omitempty" doc:"The systems to which syncs send rows."`
	Models       []tidegate.Model        `json:"models,omitempty" doc:"Queries whose results syncs send; models/NAME.sql files add to them."`
	Syncs        []tidegate.Sync         `json:"syncs,omitempty" doc:"Which model goes to which object of which destination, and when."`
	Dbt          []tidegate.DbtProject   `json:"dbt,omitempty" doc:"The dbt projects whose models syncs may read."`
	Plans        []tidegate.TrackingPlan `json:"tracking_plans,omitempty" doc:"What the events of sources must look like; plans/NAME.yaml files add to them."`
	Forwards     []tidegate.Forward      `json:"forwards,omitempty" doc:"Which events go to which object of which destination within seconds."`
	Transforms   []tidegate.Transform    `json:"transforms,omitempty" doc:"What changes events before anything reads them; transforms/NAME.yaml and NAME.js files add to them."`
	Libraries    []tidegate.Library      `json:"libraries,omitempty" doc:"JavaScript that the scripts of transformations import; libraries/NAME.js files add to it."`
	Alerts       []tidegate.Alert        `json:"alerts,omitempty" doc:"Who is told when a sync needs somebody."`
	Streams      []tidegate.Stream       `json:"streams,omitempty" doc:"Filtered views of the events that come in, which programs read at /v1/streams/NAME."`
	Settings     Settings                `json:"settings,omitzero" doc:"How the hub itself behaves."`
}

// Warehouse chooses the adapter and configures it.
type Warehouse struct {
	Kind   string          `json:"kind" doc:"The adapter." write:"duckdb"`
	Config json.RawMessage `json:"config,omitempty" doc:"The adapter's own configuration."`
}

// Settings configure the hub. Zero values mean the defaults that the tags name.
type Settings struct {
	IngestAddr      string    `json:"ingest_addr,omitempty" default:"127.0.0.1:8080" doc:"Where SDKs send events, HOST:PORT."`
	AdminAddr       string    `json:"admin_addr,omitempty" default:"127.0.0.1:8081" doc:"Where the API, the metrics and the CLI meet, HOST:PORT."`
	PublicURL       string    `json:"public_url,omitempty" format:"url" doc:"The address under which browsers and telephones reach the collection API, such as https://events.example.com. Without it it is taken from each request."`
	UnknownKeys     string    `json:"unknown_keys,omitempty" default:"strict" enum:"strict,segment" doc:"What an unknown write key is answered: strict says 401, segment says 200 and drops, as Segment does."`
	TrustedProxies  []string  `json:"trusted_proxies,omitempty" doc:"Address ranges whose X-Forwarded-For is believed (CIDR)."`
	AllowPrivate    []string  `json:"allow_private,omitempty" doc:"Private address ranges that destinations may reach (CIDR); all others are refused."`
	Limits          Limits    `json:"limits,omitzero" doc:"Limits of the collection API."`
	CheckpointEvery string    `json:"checkpoint_every,omitempty" default:"1m" format:"duration" doc:"How often an embedded warehouse's file is made whole on disk, after which the journal before it may go."`
	Journal         Journal   `json:"journal,omitzero" doc:"How long the journal keeps events that are loaded."`
	Retention       Retention `json:"retention,omitzero" doc:"How long finished things are kept."`
	Redis           string    `json:"redis,omitempty" secret:"true" doc:"Where hubs share the call rates of destination accounts: a reference such as ${env:REDIS_URL} to redis://USER:PASSWORD@HOST:6379/0. Without it each hub counts its own calls."`
}

// Limits bound what the collection API accepts.
type Limits struct {
	EventBytes      int64   `json:"event_bytes,omitempty" default:"1048576" min:"1" doc:"The largest event accepted, in bytes."`
	BatchBytes      int64   `json:"batch_bytes,omitempty" default:"5242880" min:"1" doc:"The largest request body accepted after decompression, in bytes."`
	BatchEvents     int     `json:"batch_events,omitempty" default:"2500" min:"1" doc:"The most events accepted in one request."`
	EventsPerSecond float64 `json:"events_per_second,omitempty" min:"0" doc:"The rate above which a source that has none of its own is answered 429; no limit when 0."`
	Connections     int     `json:"connections,omitempty" default:"10000" min:"1" doc:"The most connections that are open at a time; further ones wait until one is closed."`
}

// Retention says how long finished things are kept.
type Retention struct {
	Runs string `json:"runs,omitempty" default:"2160h" format:"duration" doc:"How long finished runs are kept, a duration such as 720h."`
}
