package forward

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/clock"
	"github.com/tidegate/tidegate/ingest/scan"
)

// columns are the columns of an event as a row. Members of the four objects are
// columns too, by their paths.
var columns = tidegate.Schema{
	{Name: "messageId", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "type", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "event", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "name", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "category", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "userId", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "anonymousId", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "groupId", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "previousId", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "channel", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "source", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "ip", Type: tidegate.Type{Kind: tidegate.String}},
	{Name: "timestamp", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	{Name: "originalTimestamp", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	{Name: "sentAt", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	{Name: "receivedAt", Type: tidegate.Type{Kind: tidegate.Timestamp}},
	{Name: "properties", Type: tidegate.Type{Kind: tidegate.JSON}},
	{Name: "traits", Type: tidegate.Type{Kind: tidegate.JSON}},
	{Name: "context", Type: tidegate.Type{Kind: tidegate.JSON}},
	{Name: "integrations", Type: tidegate.Type{Kind: tidegate.JSON}},
}

var objects = []string{"properties", "traits", "context", "integrations"}

// Schema is the row that an event is, with the paths among the used columns
// (`properties.total`) as columns of their own.
func Schema(used []string) tidegate.Schema {
	s := slices.Clone(columns)
	for _, name := range used {
		root, _, nested := strings.Cut(name, ".")
		if nested && slices.Contains(objects, root) && s.Index(name) < 0 {
			s = append(s, tidegate.Column{Name: name})
		}
	}
	return s
}

// View is one event as a row. It is valid as long as the event is, and used by
// one goroutine.
type View struct {
	ev     *tidegate.Event
	id     string
	kind   tidegate.EventType
	body   map[string]scan.Value
	shared scan.Value // the batch's context
	times  *clock.Times
}

// newView reads the event's members once. Its body was scanned by Peek.
func newView(ev *tidegate.Event, id string, kind tidegate.EventType) *View {
	v := &View{ev: ev, id: id, kind: kind, body: make(map[string]scan.Value, 12), shared: scan.Value(ev.Context)}
	for name, value := range scan.Value(ev.Body).Members {
		v.body[string(name)] = value
	}
	return v
}

// text is a scalar member as text, empty when it is absent.
func (v *View) text(name string) string {
	value := v.body[name]
	if text, ok := value.Text(); ok {
		return string(text)
	}
	if value.IsNumber() || string(value) == "true" || string(value) == "false" {
		return string(value)
	}
	return ""
}

// user is whose event it is: the userId, else the anonymousId.
func (v *View) user() string {
	if id := v.text("userId"); id != "" {
		return id
	}
	return v.text("anonymousId")
}

// name is what people call the event.
func (v *View) name() string {
	if name := v.text("event"); name != "" {
		return name
	}
	return v.text("name")
}

// Cell is the value of a column, nil where the event has none.
func (v *View) Cell(column string) any {
	switch column {
	case "messageId":
		return v.id
	case "type":
		return string(v.kind)
	case "source":
		return v.ev.Source
	case "ip":
		return v.ip()
	case "timestamp":
		return v.clock().Timestamp
	case "originalTimestamp":
		return v.clock().OriginalTimestamp
	case "sentAt":
		return v.clock().SentAt
	case "receivedAt":
		return v.clock().ReceivedAt
	case "context":
		return v.context()
	}
	root, path, nested := strings.Cut(column, ".")
	switch {
	case nested:
		return cellOf(v.at(root, strings.Split(path, ".")))
	case root == "traits":
		return cellOf(v.traits())
	case root == "integrations":
		return cellOf(first(v.body["integrations"], scan.Value(v.ev.Integrations)))
	case root == "properties":
		return cellOf(v.body["properties"])
	}
	if text := v.text(root); text != "" {
		return text
	}
	return nil
}

func (v *View) clock() *clock.Times {
	if v.times == nil {
		sent := v.text("sentAt")
		if sent == "" {
			sent = v.ev.SentAt
		}
		t, _ := clock.Correct(v.ev.ReceivedAt, sent, v.text("originalTimestamp"), v.text("timestamp"))
		v.times = &t
	}
	return v.times
}

func (v *View) ip() any {
	if text, ok := v.at("context", []string{"ip"}).Text(); ok && len(text) > 0 {
		return string(text)
	}
	if v.ev.RequestIP != "" {
		return v.ev.RequestIP
	}
	return nil
}

// traits are the event's own, else those of its context.
func (v *View) traits() scan.Value {
	return first(v.body["traits"], v.body["context"].Member("traits"), v.shared.Member("traits"))
}

// at is a member of one of the objects. Of event and batch the event counts.
func (v *View) at(root string, path []string) scan.Value {
	switch root {
	case "context":
		return first(descend(v.body["context"], path), descend(v.shared, path))
	case "traits":
		return descend(v.traits(), path)
	case "integrations":
		return first(descend(v.body["integrations"], path), descend(scan.Value(v.ev.Integrations), path))
	}
	return descend(v.body[root], path)
}

// context is the batch's context with the event's own over it, level by level.
func (v *View) context() any {
	own := v.body["context"]
	switch {
	case !v.shared.IsObject():
		return cellOf(own)
	case !own.IsObject():
		return cellOf(v.shared)
	}
	return tidegate.JSONText(merge(nil, v.shared, own, 0))
}

const maxMerge = 32 // levels of context that are merged; below, the event's own counts

func merge(dst []byte, under, over scan.Value, depth int) []byte {
	type member struct {
		name        string
		under, over scan.Value
	}
	var list []member
	at := map[string]int{}
	find := func(name []byte) *member {
		i, ok := at[string(name)]
		if !ok {
			i = len(list)
			at[string(name)] = i
			list = append(list, member{name: string(name)})
		}
		return &list[i]
	}
	for name, value := range under.Members {
		find(name).under = value
	}
	for name, value := range over.Members {
		find(name).over = value
	}
	dst = append(dst, '{')
	for i, m := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, m.name)
		dst = append(dst, ':')
		switch {
		case depth < maxMerge && m.under.IsObject() && m.over.IsObject():
			dst = merge(dst, m.under, m.over, depth+1)
		case len(m.over) > 0:
			dst = append(dst, m.over...)
		default:
			dst = append(dst, m.under...)
		}
	}
	return append(dst, '}')
}

func appendQuoted(dst []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil { // a string always encodes
		panic(fmt.Sprintf("quoting a name: %v", err))
	}
	return append(dst, quoted...)
}

func descend(v scan.Value, path []string) scan.Value {
	for _, name := range path {
		if len(v) == 0 {
			return nil
		}
		v = v.Member(name)
	}
	return v
}

func first(values ...scan.Value) scan.Value {
	for _, v := range values {
		if len(v) > 0 && string(v) != "null" {
			return v
		}
	}
	return nil
}

// cellOf is a JSON value as a cell of a row.
func cellOf(v scan.Value) any {
	v = bytes.TrimSpace(v)
	switch {
	case len(v) == 0 || string(v) == "null":
		return nil
	case v.IsString():
		text, _ := v.Text()
		return strings.ReplaceAll(strings.ToValidUTF8(string(text), "\uFFFD"), "\x00", "\uFFFD")
	case string(v) == "true":
		return true
	case string(v) == "false":
		return false
	case v.IsNumber():
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(string(v), 64); err == nil {
			return f
		}
		return string(v)
	}
	return tidegate.JSONText(v)
}
