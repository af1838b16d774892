package mapping

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/model"
)

// Lint finds what is wrong with a mapping when neither the model's columns nor
// the destination's fields are known: sources, names, templates, the language of expressions.
func Lint(def tidegate.Mapping) []model.Problem {
	l := &linter{seen: map[string]int{}}
	if def.Fields != nil && len(def.Fields) == 0 {
		l.add("mapping.fields", "must map at least one field", "write `fields: [{field: email, column: email}]`")
	}
	for i, f := range def.Fields {
		at := fmt.Sprintf("mapping.fields[%d]", i)
		l.value(at, f, 1)
		if first, twice := l.seen[f.Field]; twice && f.Field != "" {
			l.add(at+".field", fmt.Sprintf("the field %q is mapped twice", f.Field), fmt.Sprintf("the first is mapping.fields[%d]", first))
			continue
		}
		l.seen[f.Field] = i
	}
	at, mapped := l.seen[def.Identifier]
	switch {
	case def.Identifier == "" || len(def.Fields) == 0:
	case !mapped:
		l.add("mapping.identifier", fmt.Sprintf("the identifier %q is not mapped", def.Identifier), "add it to mapping.fields")
	case def.Fields[at].Policy != "" && def.Fields[at].Policy != tidegate.Always:
		l.add(fmt.Sprintf("mapping.fields[%d].policy", at), fmt.Sprintf("the identifier %q is always sent", def.Identifier), "remove the policy")
	}
	if n := len(Joins(def)); n > model.MaxLookups*4 {
		l.add("mapping.fields", fmt.Sprintf("there are %d lookups", n), "join the other models in the model's query")
	}
	return l.problems
}

type linter struct {
	seen     map[string]int
	problems []model.Problem
}

func (l *linter) add(path, message, hint string) {
	l.problems = append(l.problems, model.Problem{Path: path, Message: message, Hint: hint})
}

func (l *linter) value(at string, f tidegate.FieldMapping, depth int) {
	switch set := Sources(f); {
	case len(set) == 0:
		l.add(at, called(f)+" gets no value", "add column, constant, template, expression, lookup, object or items")
		return
	case len(set) > 1:
		l.add(at, called(f)+" has "+strings.Join(set, " and "), "keep one")
		return
	case depth > MaxDepth:
		l.add(at, fmt.Sprintf("objects and arrays are nested deeper than %d levels", MaxDepth), "build the object in the model's query and map one JSON column")
		return
	}
	if f.Country != "" && f.Normalize == "" {
		l.add(at+".country", "a country says how a value is normalised", "add normalize, or remove it")
	}
	if f.Rules != "" && f.Normalize == "" {
		l.add(at+".rules", "rules say how a value is normalised", "add normalize, or remove them")
	}
	if (f.Normalize != "" || f.Hash != "") && (len(f.Constant) > 0 || f.Object != nil || f.Items != nil) {
		l.add(at, "a constant, an object or an array cannot be normalised or hashed", "normalise and hash the values inside")
	}
	l.source(at, f)
	for i, child := range f.Object {
		inner := itemPath(at+".object", i)
		if child.Field == "" {
			l.add(inner+".field", "the member has no name", "name it")
		} else if first := slices.IndexFunc(f.Object, func(o tidegate.FieldMapping) bool { return o.Field == child.Field }); first < i {
			l.add(inner+".field", fmt.Sprintf("the member %q stands twice", child.Field), "map every member once")
		}
		l.nested(inner, child, depth)
	}
	for i, child := range f.Items {
		inner := itemPath(at+".items", i)
		if child.Field != "" {
			l.add(inner+".field", "an entry of an array has no name", "remove field, or use object")
		}
		l.nested(inner, child, depth)
	}
}

func called(f tidegate.FieldMapping) string {
	if f.Field == "" {
		return "the value"
	}
	return fmt.Sprintf("the field %q", f.Field)
}

func (l *linter) nested(at string, f tidegate.FieldMapping, depth int) {
	if f.Policy != "" && f.Policy != tidegate.Always {
		l.add(at+".policy", "a part of an object or an array has no policy of its own: it is sent as a whole", "set the policy on the field of the record")
	}
	l.value(at, f, depth+1)
}

func (l *linter) source(at string, f tidegate.FieldMapping) {
	switch {
	case f.Template != "":
		if _, _, err := parseTemplate(f.Template); err != nil {
			l.add(at+".template", err.Error(), "")
		}
	case f.Expression != "":
		for _, p := range lintExpression(f.Expression) {
			l.add(at+".expression", p.message, p.hint)
		}
	}
}

// lintExpression checks text as if every name that it uses were a column of an
// unknown type.
func lintExpression(text string) []exprProblem {
	env, err := environment(nil, "")
	if err != nil {
		return []exprProblem{{"the expression cannot be compiled: " + err.Error(), ""}}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return explain(text, issues, nil)
	}
	var names []cel.EnvOption
	seen := map[string]bool{rowName: true}
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind && !seen[x.AsIdent()] && canName(x.AsIdent()) {
			seen[x.AsIdent()] = true
			names = append(names, cel.Variable(x.AsIdent(), cel.DynType))
		}
	}))
	if env, err = env.Extend(names...); err != nil {
		return []exprProblem{{"the expression cannot be compiled: " + err.Error(), ""}}
	}
	if _, issues := env.Check(parsed); issues.Err() != nil {
		return explain(text, issues, nil)
	}
	return nil
}

// unknownFunction is the problem of a name that is followed by a parenthesis.
func unknownFunction(name string) exprProblem {
	return exprProblem{fmt.Sprintf("there is no function %q", name), config.DidYouMean(name, functionNames())}
}
