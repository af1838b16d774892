package hubspot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/internal/egress"
)

const (
	maxInputs      = 100
	maxAnswerBytes = 8 << 20
	recordID       = "hs_object_id"
	fieldsFresh    = time.Minute // how long the properties of an object are remembered
)

// objectNames are the objects that can be written, in the order of the API's documentation.
var objectNames = []string{"contacts", "companies", "deals"}

// Destination is one HubSpot account.
type Destination struct {
	cfg    Config
	env    destinations.Env
	base   string
	closed atomic.Bool

	// pace spaces searches out: their limit stands beside that of all other calls.
	pace *rate.Limiter

	mu        sync.Mutex
	objects   []destinations.Object
	readAt    time.Time
	leftOfDay int64 // calls, -1 unknown
}

var (
	_ destinations.Destination = (*Destination)(nil)
	_ destinations.Checker     = (*Destination)(nil)
	_ destinations.Accounter   = (*Destination)(nil)
	_ destinations.Reader      = (*Destination)(nil)
	_ destinations.Provisioner = (*Destination)(nil)
	_ destinations.Audiencer   = (*Destination)(nil)
	_ destinations.Coster      = (*Destination)(nil)
)

func open(cfg Config, env destinations.Env) (*Destination, error) {
	if token := cfg.Token.Reveal(); token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.invalid", Subject: "token", Message: "the token is empty or holds a character that no token has, perhaps a space or a line end",
			Hint: "copy the access token again from the private app's settings",
		}
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.hubapi.com"
	}
	if cfg.CallsPerTenSec <= 0 {
		cfg.CallsPerTenSec = 100
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 4
	}
	return &Destination{cfg: cfg, env: env, base: strings.TrimSuffix(cfg.BaseURL, "/"), pace: rate.NewLimiter(searchRate, 1), leftOfDay: -1}, nil
}

// allow passes on what an answer says about the account's limit.
func (d *Destination) allow(h http.Header) {
	d.noteDay(h)
	limit, err := strconv.Atoi(h.Get("X-HubSpot-RateLimit-Max"))
	remaining, err2 := strconv.Atoi(h.Get("X-HubSpot-RateLimit-Remaining"))
	window, err3 := strconv.Atoi(h.Get("X-HubSpot-RateLimit-Interval-Milliseconds"))
	if d.env.Allow == nil || err != nil || err2 != nil || err3 != nil || limit <= 0 || window <= 0 {
		return
	}
	d.env.Allow(destinations.Allowance{Limit: limit, Remaining: max(remaining, 0), Window: time.Duration(window) * time.Millisecond})
}

// Close makes later calls fail.
func (d *Destination) Close() error {
	d.closed.Store(true)
	return nil
}

// property is one entry of the properties API.
type property struct {
	Name           string `json:"name"`
	Label          string `json:"label"`
	Type           string `json:"type"`
	FieldType      string `json:"fieldType,omitempty"`
	GroupName      string `json:"groupName,omitempty"`
	HasUniqueValue bool   `json:"hasUniqueValue,omitempty"`
	Modification   struct {
		ReadOnlyValue bool `json:"readOnlyValue"`
	} `json:"modificationMetadata"`
}

// Objects reads the properties of each object from the account.
func (d *Destination) Objects(ctx context.Context) ([]destinations.Object, error) {
	if list := d.remembered(); list != nil {
		return list, nil
	}
	var list []destinations.Object
	for _, name := range objectNames {
		var answer struct {
			Results []property `json:"results"`
		}
		if err := d.call(ctx, http.MethodGet, "/crm/v3/properties/"+name, nil, &answer); err != nil {
			return nil, fmt.Errorf("reading the properties of %s: %w", name, err)
		}
		list = append(list, d.object(name, answer.Results))
	}
	d.mu.Lock() // not while calling: who waits for a lock cannot be cancelled
	defer d.mu.Unlock()
	d.objects, d.readAt = list, d.env.Now()
	return slices.Clone(list), nil
}

// remembered returns the objects while they are fresh, otherwise nil.
func (d *Destination) remembered() []destinations.Object {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed.Load() || d.env.Now().Sub(d.readAt) >= fieldsFresh {
		return nil
	}
	return slices.Clone(d.objects)
}

func (d *Destination) object(name string, properties []property) destinations.Object {
	o := destinations.Object{
		Name: name, Label: strings.ToUpper(name[:1]) + name[1:], Safety: destinations.Idempotent,
		Modes:    []tidegate.Mode{tidegate.Upsert, tidegate.Update, tidegate.Insert, tidegate.Mirror, tidegate.Audience, tidegate.Full},
		Removals: []tidegate.Removal{tidegate.Archive, tidegate.Delete, tidegate.Clear},
		// A create that is repeated makes a second record, or a conflict where a property is unique.
		Safeties: map[tidegate.Mode]destinations.Safety{tidegate.Insert: destinations.Unsafe},
		Limit:    destinations.Limit{Records: maxInputs, Concurrency: d.cfg.Concurrency, Calls: d.cfg.CallsPerTenSec, Per: 10 * time.Second},
	}
	hasID := false
	for _, p := range properties {
		identifier := p.HasUniqueValue || p.Name == recordID || name == "contacts" && p.Name == "email" || searched(name, p.Name)
		hasID = hasID || p.Name == recordID
		o.Fields = append(o.Fields, destinations.Field{
			Name: p.Name, Label: p.Label, Type: typeOf(p.Type), Identifier: identifier, ReadOnly: p.Modification.ReadOnlyValue && p.Name != recordID,
		})
	}
	if !hasID {
		o.Fields = append(o.Fields, destinations.Field{Name: recordID, Label: "Record ID", Type: tidegate.Type{Kind: tidegate.String}, Identifier: true})
	}
	return o
}

func typeOf(hubspot string) tidegate.Type {
	switch hubspot {
	case "number":
		return tidegate.Type{Kind: tidegate.Decimal, Precision: 38, Scale: 9}
	case "datetime":
		return tidegate.Type{Kind: tidegate.Timestamp}
	case "date":
		return tidegate.Type{Kind: tidegate.Date}
	case "bool":
		return tidegate.Type{Kind: tidegate.Bool}
	default: // string, enumeration, phone_number, json, …: all travel as text
		return tidegate.Type{Kind: tidegate.String}
	}
}

// Check proves the token with a read.
func (d *Destination) Check(ctx context.Context) error {
	if err := d.call(ctx, http.MethodGet, "/crm/v3/objects/contacts?limit=1", nil, &struct{}{}); err != nil {
		return fmt.Errorf("checking the token: %w", err)
	}
	return nil
}

// Account is the id of the portal. A token of an app without the basic scope may not ask for it.
func (d *Destination) Account(ctx context.Context) (string, error) {
	var details struct {
		PortalID int64 `json:"portalId"`
	}
	err := d.call(ctx, http.MethodGet, "/account-info/v3/details", nil, &details)
	if f := tidegate.FaultOf(err); err != nil && (f.Code == "auth.forbidden" || f.Code == "hubspot.not_found") {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the id of the portal: %w", err)
	}
	if details.PortalID == 0 {
		return "", nil
	}
	return strconv.FormatInt(details.PortalID, 10), nil
}

// CreateField creates a property in the group that every account has for the object.
func (d *Destination) CreateField(ctx context.Context, object string, f destinations.Field) error {
	typ, fieldType := "string", "text"
	switch f.Type.Kind {
	case tidegate.Int, tidegate.Float, tidegate.Decimal:
		typ, fieldType = "number", "number"
	case tidegate.Timestamp:
		typ, fieldType = "datetime", "date"
	case tidegate.Date:
		typ, fieldType = "date", "date"
	case tidegate.Bool:
		typ, fieldType = "bool", "booleancheckbox"
	case tidegate.Unknown, tidegate.String, tidegate.Bytes, tidegate.JSON:
	}
	label := f.Label
	if label == "" {
		label = f.Name
	}
	group := map[string]string{"contacts": "contactinformation", "companies": "companyinformation", "deals": "dealinformation"}[object]
	body := map[string]any{"name": f.Name, "label": label, "type": typ, "fieldType": fieldType, "groupName": group, "hasUniqueValue": f.Identifier}
	if typ == "bool" {
		body["options"] = []map[string]any{{"label": "Yes", "value": "true", "displayOrder": 0, "hidden": false}, {"label": "No", "value": "false", "displayOrder": 1, "hidden": false}}
	}
	if err := d.call(ctx, http.MethodPost, "/crm/v3/properties/"+url.PathEscape(object), body, &struct{}{}); err != nil {
		return fmt.Errorf("creating property %s of %s: %w", f.Name, object, err)
	}
	d.mu.Lock()
	d.objects = nil
	d.mu.Unlock()
	return nil
}

// Read returns the records that the identifiers match, nil where there is none.
func (d *Destination) Read(ctx context.Context, object, identifierField string, identifiers []any, fields []string) ([]tidegate.Record, error) {
	out := make([]tidegate.Record, len(identifiers))
	for start := 0; start < len(identifiers); start += maxInputs {
		chunk := identifiers[start:min(start+maxInputs, len(identifiers))]
		found, err := d.read(ctx, object, identifierField, texts(chunk), append([]string{identifierField}, fields...))
		if err != nil {
			return nil, err
		}
		for i, id := range chunk {
			if r, ok := found[fold(identifierField, text(id))]; ok {
				out[start+i] = r.record()
			}
		}
	}
	return out, nil
}

// read returns records by folded identifier value. batch/read shows what was
// written last; only where it does not know the property as unique the search,
// which lags behind and is let a few calls a second, has to find the records.
func (d *Destination) read(ctx context.Context, object, identifierField string, ids, properties []string) (map[string]result, error) {
	if searched(object, identifierField) {
		return d.readSearched(ctx, object, identifierField, ids, properties)
	}
	body := map[string]any{"properties": properties}
	if identifierField != recordID {
		body["idProperty"] = identifierField
	}
	inputs := make([]map[string]string, len(ids))
	for i, id := range ids {
		inputs[i] = map[string]string{"id": id}
	}
	body["inputs"] = inputs
	var answer batchAnswer
	if err := d.call(ctx, http.MethodPost, batchPath(object, "read"), body, &answer); err != nil {
		return nil, fmt.Errorf("reading %s: %w", object, err)
	}
	if f := d.unread(answer); f != nil {
		return nil, fmt.Errorf("reading %s: %w", object, f)
	}
	found := make(map[string]result, len(answer.Results))
	for _, r := range answer.Results {
		value := r.Properties[identifierField]
		if identifierField == recordID {
			value = &r.ID
		}
		if value != nil {
			found[fold(identifierField, *value)] = r
		}
	}
	return found, nil
}

// unread is why an answer does not tell which records exist, or nil when it
// does: a record may be taken for absent only when nothing else went wrong.
func (d *Destination) unread(a batchAnswer) *tidegate.Fault {
	for _, e := range a.Errors {
		if e.Category != notFound {
			return d.recordFault(e)
		}
	}
	if a.Status != complete {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "hubspot.incomplete", Message: "the answer does not say that the read is complete"}
	}
	return nil
}

// fold makes values comparable: HubSpot stores e-mail addresses and domains in lower case.
func fold(identifierField, value string) string {
	if identifierField == "email" || identifierField == "domain" {
		return strings.ToLower(strings.TrimSpace(value))
	}
	return value
}

var errClosed = errors.New("the destination is closed")

// call makes one call and decodes a 2xx answer into into; other answers become faults.
func (d *Destination) call(ctx context.Context, method, path string, body, into any) error {
	if d.closed.Load() {
		return errClosed
	}
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the call: %w", err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.base+path, reader)
	if err != nil {
		return &tidegate.Fault{Action: tidegate.Halt, Code: "hubspot.base_url", Subject: "base_url", Message: "it is no address", Hint: "leave base_url out, or write it as https://HOST"}
	}
	req.Header.Set("Authorization", "Bearer "+d.cfg.Token.Reveal())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.env.HTTP.Do(req)
	if err != nil {
		return egress.Fault(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	d.allow(resp.Header)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return egress.Fault(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return d.classify(resp, raw)
	}
	if len(raw) == 0 {
		return nil // 204 of archive
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return &tidegate.Fault{Action: tidegate.Retry, Code: "hubspot.not_json", Message: "the answer is not the API's JSON", Hint: "look whether base_url is right and no proxy answers instead", Err: err}
	}
	return nil
}
