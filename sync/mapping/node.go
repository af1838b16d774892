package mapping

import (
	"strconv"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// node is where one value comes from: a leaf with one source, an object or an array.
type node struct {
	name     string        // empty in an array
	quoted   []byte        // the name as JSON, with its colon
	subject  string        // of faults: field address.city
	kind     tidegate.Kind // Unknown takes every value as it is
	required bool
	skipNull bool

	object []*node // by name
	items  []*node

	cell       int // position in Columns, -1 when it is not a column
	direct     bool
	constant   any
	template   *template
	expression *expression
	after      after
}

// after is what happens to a leaf's value before it is fitted to its field.
type after struct {
	normalize string
	rules     normalize.Rules
	country   string
	hash      string
}

// value is the node's value for one row.
func (n *node) value(s *scope) (any, *tidegate.Fault) {
	switch {
	case n.object != nil || n.items != nil:
		return n.nested(s)
	case n.template != nil:
		if fault := s.bind(); fault != nil {
			return nil, fault
		}
	}
	v, err := n.leaf(s)
	if err != nil {
		return nil, n.reject("mapping.value", err.Error(), "correct the value in the model, or map another column")
	}
	return v, nil
}

func (n *node) leaf(s *scope) (any, error) {
	var cell any
	switch {
	case n.cell >= 0:
		cell = s.row[n.cell]
	case n.template != nil:
		text, err := n.template.render(s.bindings)
		if err != nil {
			return nil, err
		}
		if text == "" && (n.skipNull || n.after != after{} || n.kind != tidegate.Unknown && n.kind != tidegate.String) {
			return nil, nil // an empty text is no number or date, and with skip_null it is null
		}
		cell = text
	case n.expression != nil:
		var err error
		if cell, err = n.expression.eval(s.row); err != nil {
			return nil, err
		}
	default:
		return n.constant, nil
	}
	if cell == nil {
		return nil, nil
	}
	if n.after == (after{}) {
		return fit(cell, n.kind)
	}
	return n.after.apply(cell)
}

// apply normalises and hashes. A value that is a digest already is not hashed
// again: warehouses often hold nothing but digests.
func (a after) apply(cell any) (any, error) {
	v, err := plain(cell)
	if err != nil {
		return nil, err
	}
	text := asText(v).(string) //nolint:forcetypeassert // asText of a value that is not nil
	if a.hash != "" && normalize.Personal(a.normalize) && normalize.IsDigest(a.hash, text) {
		return strings.ToLower(text), nil
	}
	if a.normalize != "" {
		if text, err = normalize.Text(a.rules, a.normalize, a.country, text); err != nil || text == "" {
			return nil, err
		}
	}
	if a.hash == "" {
		return text, nil
	}
	return normalize.Digest(a.hash, text)
}

// nested is an object or an array, or its JSON where the field takes a text.
func (n *node) nested(s *scope) (any, *tidegate.Fault) {
	build := n.itemsValue
	if n.object != nil {
		build = n.objectValue
	}
	v, fault := build(s)
	if fault == nil && v != nil && n.kind == tidegate.String {
		v = asText(v)
	}
	return v, fault
}

func (n *node) objectValue(s *scope) (any, *tidegate.Fault) {
	object := make(map[string]any, len(n.object))
	for _, child := range n.object {
		v, fault := child.value(s)
		if fault != nil {
			return nil, fault
		}
		if v != nil || !child.skipNull {
			object[child.name] = v
		}
	}
	if len(object) == 0 && n.skipNull {
		return nil, nil
	}
	return object, nil
}

func (n *node) itemsValue(s *scope) (any, *tidegate.Fault) {
	items := make([]any, 0, len(n.items))
	for _, child := range n.items {
		v, fault := child.value(s)
		if fault != nil {
			return nil, fault
		}
		if v != nil || !child.skipNull {
			items = append(items, v)
		}
	}
	if len(items) == 0 && n.skipNull {
		return nil, nil
	}
	return items, nil
}

// appendTo appends the JSON of the node's value.
func (n *node) appendTo(b []byte, s *scope) ([]byte, *tidegate.Fault) {
	if n.direct {
		out, err := model.AppendCell(b, s.row[n.cell])
		if err != nil {
			return b, n.reject("mapping.value", err.Error(), "correct the value in the model, or map another column")
		}
		return out, nil
	}
	v, fault := n.value(s)
	if fault != nil {
		return b, fault
	}
	return model.AppendJSON(b, v), nil
}

// settle judges the value of a field of the record and says whether it stays in it.
func (n *node) settle(identifier string, null, empty bool) (keep bool, fault *tidegate.Fault) {
	switch {
	case null && n.name == identifier:
		return false, n.reject("mapping.identifier", "the identifier is null: there is nothing to match the record by", "leave rows without it out of the model")
	case empty && n.name == identifier:
		return false, n.reject("mapping.identifier", "the identifier is empty: there is nothing to match the record by", "leave rows without it out of the model")
	case null && n.required:
		return false, n.reject("mapping.required", "the field is required and its value is null", "give the column a value, or leave such rows out of the model")
	}
	return !null || !n.skipNull, nil
}

func (n *node) reject(code, message, hint string) *tidegate.Fault {
	return &tidegate.Fault{Action: tidegate.Reject, Code: code, Subject: n.subject, Message: message, Hint: hint}
}

// goesDirect says whether a column of kind from is written into a field of kind
// to as it is, so that the row's cell can be appended without a look at it.
func goesDirect(from, to tidegate.Kind) bool {
	switch from {
	case tidegate.Unknown, tidegate.JSON:
		return false // has to be parsed
	case tidegate.Bool, tidegate.Int, tidegate.Float, tidegate.Decimal, tidegate.String, tidegate.Bytes, tidegate.Date, tidegate.Timestamp:
		return to == from || to == tidegate.Unknown || to == tidegate.JSON
	}
	return false
}

func itemPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
