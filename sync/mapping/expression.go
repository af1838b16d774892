package mapping

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/config"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// The published limits of an expression.
const (
	MaxExpressionChars = 16_384
	// maxCost bounds one evaluation; an ordinary expression costs less than a hundred.
	maxCost  = 200_000
	maxNodes = 5_000
)

// rowName is the variable through which columns are read whose names cannot
// stand in an expression: row["First Name"].
const rowName = "row"

// expression is a compiled CEL expression. It is safe for concurrent use.
type expression struct {
	program cel.Program
	kind    tidegate.Kind // of its result; Unknown when that shows at run time only
	reads   []read
}

// read is a column that an expression reads.
type read struct {
	column string
	cell   int  // position in the mapping's columns
	named  bool // as a variable of its own
	nested bool // it holds JSON
}

// exprProblem is one thing that is wrong with an expression, with its place.
type exprProblem struct{ message, hint string }

// compileExpression checks text against the columns of schema. The cells of the
// expression's reads are the caller's to fill.
func compileExpression(text string, schema tidegate.Schema, rules normalize.Rules) (*expression, []exprProblem) {
	env, err := environment(schema, rules)
	if err != nil {
		return nil, []exprProblem{{"the expression cannot be compiled: " + err.Error(), ""}}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, explain(text, issues, schema)
	}
	e := &expression{kind: kindOf(checked.OutputType())}
	problems := e.readsOf(checked.NativeRep(), schema)
	if e.kind == unsendable {
		problems = append(problems, exprProblem{fmt.Sprintf("the expression is a %s, which no field takes", checked.OutputType()), "convert it: string(x), int(x), double(x)"})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	e.program, err = env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []exprProblem{{"the expression cannot be compiled: " + err.Error(), ""}}
	}
	return e, nil
}

// environment declares the columns and the functions.
func environment(schema tidegate.Schema, rules normalize.Rules) (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(MaxExpressionChars), cel.ParserRecursionLimit(100), cel.ExpressionNodeLimit(maxNodes),
		cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true),
	}
	if schema.Index(rowName) < 0 {
		options = append(options, cel.Variable(rowName, cel.MapType(cel.StringType, cel.DynType)))
	}
	for _, column := range schema {
		if canName(column.Name) && !model.IsLookupColumn(column.Name) {
			options = append(options, cel.Variable(column.Name, typeOf(column.Type.Kind)))
		}
	}
	return cel.NewEnv(append(options, functions(rules)...)...)
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// celWords cannot name a variable: the language keeps them.
var celWords = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "null", "package", "namespace",
	"return", "true", "var", "void", "while", "bool", "bytes", "double", "dyn", "duration", "int", "list", "map", "null_type", "string", "timestamp", "type", "uint",
	"cel", "math", "base64", "strings", "google",
}

func canName(column string) bool {
	return identifier.MatchString(column) && !slices.Contains(celWords, column)
}

// typeOf is the type of a column in an expression. Every column may be null.
func typeOf(k tidegate.Kind) *cel.Type {
	switch k {
	case tidegate.Bool:
		return cel.NullableType(cel.BoolType)
	case tidegate.Int:
		return cel.NullableType(cel.IntType)
	case tidegate.Float, tidegate.Decimal: // arithmetic on decimals is that of doubles here
		return cel.NullableType(cel.DoubleType)
	case tidegate.String:
		return cel.NullableType(cel.StringType)
	case tidegate.Bytes:
		return cel.NullableType(cel.BytesType)
	case tidegate.Date, tidegate.Timestamp:
		return cel.TimestampType
	case tidegate.JSON, tidegate.Unknown:
	}
	return cel.DynType
}

// unsendable is the kind of a result that no record can hold.
const unsendable = tidegate.Kind(255)

func kindOf(t *cel.Type) tidegate.Kind {
	switch t.Kind() {
	case types.BoolKind:
		return tidegate.Bool
	case types.IntKind, types.UintKind:
		return tidegate.Int
	case types.DoubleKind:
		return tidegate.Float
	case types.StringKind:
		return tidegate.String
	case types.BytesKind:
		return tidegate.Bytes
	case types.TimestampKind:
		return tidegate.Timestamp
	case types.ListKind, types.MapKind:
		return tidegate.JSON
	case types.DynKind, types.AnyKind, types.NullTypeKind, types.TypeParamKind:
		return tidegate.Unknown
	default:
		return unsendable
	}
}

// readsOf finds the columns that the expression reads. row must be followed by
// a column's name as a text, so that the columns are known before the first row.
func (e *expression) readsOf(checked *ast.AST, schema tidegate.Schema) (problems []exprProblem) {
	rows, named := 0, 0
	add := func(column string, asVariable bool) {
		if i := slices.IndexFunc(e.reads, func(r read) bool { return r.column == column }); i >= 0 {
			e.reads[i].named = e.reads[i].named || asVariable
			return
		}
		e.reads = append(e.reads, read{column: column, named: asVariable, nested: typeOf(schema[schema.Index(column)].Type.Kind) == cel.DynType})
	}
	column := func(at ast.Expr, name string) {
		named++
		if schema.Index(name) < 0 || model.IsLookupColumn(name) {
			where := checked.SourceInfo().GetStartLocation(at.ID())
			problems = append(problems, exprProblem{fmt.Sprintf("%d:%d: the model has no column %q", where.Line(), where.Column()+1, name), config.DidYouMean(name, schema.Names())})
			return
		}
		add(name, false)
	}
	isRow := func(x ast.Expr) bool {
		return x.Kind() == ast.IdentKind && x.AsIdent() == rowName && schema.Index(rowName) < 0
	}
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.IdentKind:
			if isRow(x) {
				rows++
			} else if schema.Index(x.AsIdent()) >= 0 {
				add(x.AsIdent(), true)
			}
		case ast.SelectKind:
			if s := x.AsSelect(); isRow(s.Operand()) {
				column(x, s.FieldName())
			}
		case ast.CallKind:
			call := x.AsCall()
			if call.FunctionName() != "_[_]" || !isRow(call.Args()[0]) {
				return
			}
			if name, ok := call.Args()[1].AsLiteral().(types.String); call.Args()[1].Kind() == ast.LiteralKind && ok {
				column(x, string(name))
			}
		default:
		}
	}))
	if rows > named {
		problems = append(problems, exprProblem{"row is not followed by a column's name", `write row["First Name"]`})
	}
	return problems
}

// eval runs the expression. The result is a cell, or nested values; a null where
// a value is needed makes the result null, as in SQL.
func (e *expression) eval(row tidegate.Row) (any, error) {
	vars := &variables{e: e, row: row}
	out, _, err := e.program.Eval(vars)
	if err != nil {
		if vars.err != nil {
			return nil, vars.err
		}
		if text := err.Error(); vars.null && strings.Contains(text, "no such overload") || vars.nullJSON && strings.Contains(text, "no such key") {
			return nil, nil
		}
		return nil, fmt.Errorf("the expression failed: %w", err)
	}
	return native(out, 0)
}

// variables hands the cells of one row to an expression.
type variables struct {
	e        *expression
	row      tidegate.Row
	null     bool // a column that was read is null
	nullJSON bool // and it is one of JSON
	err      error
}

func (v *variables) ResolveName(name string) (any, bool) {
	for i := range v.e.reads {
		if r := &v.e.reads[i]; r.named && r.column == name {
			return v.cell(r), true
		}
	}
	if name != rowName {
		return nil, false
	}
	row := make(map[string]ref.Val, len(v.e.reads))
	for i := range v.e.reads {
		row[v.e.reads[i].column] = v.cell(&v.e.reads[i])
	}
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, asAny(row)), true
}

func asAny(row map[string]ref.Val) map[string]any {
	out := make(map[string]any, len(row))
	for k, v := range row {
		out[k] = v
	}
	return out
}

func (v *variables) Parent() interpreter.Activation { return nil }

func (v *variables) cell(r *read) ref.Val {
	value, err := celValue(v.row[r.cell])
	if err != nil {
		v.err = fmt.Errorf("column %q: %w", r.column, err)
		return types.WrapErr(v.err)
	}
	if value == types.NullValue {
		v.null, v.nullJSON = true, v.nullJSON || r.nested
	}
	return value
}

func celValue(cell any) (ref.Val, error) {
	switch c := cell.(type) {
	case nil:
		return types.NullValue, nil
	case bool:
		return types.Bool(c), nil
	case int64:
		return types.Int(c), nil
	case float64:
		return types.Double(c), nil
	case tidegate.DecimalText:
		f, err := strconv.ParseFloat(string(c), 64)
		return types.Double(f), err
	case string:
		if len(c) > model.MaxValueBytes {
			return nil, fmt.Errorf("the value has %d bytes, an expression takes %d", len(c), model.MaxValueBytes)
		}
		return types.String(c), nil
	case []byte:
		return types.Bytes(c), nil
	case tidegate.CalendarDate:
		return types.Timestamp{Time: c.Time()}, nil
	case time.Time:
		return types.Timestamp{Time: c.UTC()}, nil
	}
	v, err := model.Value(cell)
	if err != nil {
		return nil, err
	}
	return types.DefaultTypeAdapter.NativeToValue(v), nil
}

const maxNesting = 32

// native turns a result into a cell or nested values of a record.
func native(v ref.Val, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("the result is nested deeper than %d levels", maxNesting)
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		if v > math.MaxInt64 {
			return strconv.FormatUint(uint64(v), 10), nil
		}
		return int64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		if len(v) > model.MaxValueBytes {
			return nil, fmt.Errorf("the expression writes more than %d bytes", model.MaxValueBytes)
		}
		return strings.ToValidUTF8(string(v), "\uFFFD"), nil
	case types.Bytes:
		return []byte(v), nil
	case types.Timestamp:
		return v.Time, nil
	case traits.Lister:
		return nativeList(v, depth)
	case traits.Mapper:
		return nativeMap(v, depth)
	}
	return nil, fmt.Errorf("the expression gives a %s, which no record holds", v.Type().TypeName())
}

func nativeList(v traits.Lister, depth int) (any, error) {
	list := []any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		item, err := nested(it.Next(), depth)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

func nativeMap(v traits.Mapper, depth int) (any, error) {
	object := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, errors.New("the expression gives an object whose member names are no texts")
		}
		member, err := nested(v.Get(key), depth)
		if err != nil {
			return nil, err
		}
		object[string(name)] = member
	}
	return object, nil
}

// nested is native for a value inside another, which must have its final form.
func nested(v ref.Val, depth int) (any, error) {
	cell, err := native(v, depth+1)
	if err != nil {
		return nil, err
	}
	return plain(cell)
}

var (
	undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	memberless = regexp.MustCompile(`^type '([^']*)' does not support field selection`)
	lastName   = regexp.MustCompile(`([_a-zA-Z][_a-zA-Z0-9]*)\s*$`)
	noOverload = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '([^']*)'`)
)

// explain says what is wrong in words of columns and functions.
func explain(text string, issues *cel.Issues, schema tidegate.Schema) []exprProblem {
	lines := strings.Split(text, "\n")
	var problems []exprProblem
	for _, issue := range issues.Errors() {
		line, column := issue.Location.Line(), issue.Location.Column()
		p := exprProblem{message: issue.Message}
		if m := undeclared.FindStringSubmatch(issue.Message); m != nil {
			p = unknownName(m[1], rest(lines, line, column), schema)
		} else if m := memberless.FindStringSubmatch(issue.Message); m != nil && line >= 1 && line <= len(lines) {
			before := []rune(lines[line-1])
			kind := wrapper.ReplaceAllString(m[1], "$1")
			p.message = "a " + kind + " has no members"
			if name := lastName.FindString(string(before[:min(max(column, 0), len(before))])); name != "" {
				p.message = fmt.Sprintf("%q is a %s and has no members", strings.TrimSpace(name), kind)
			}
		} else if m := noOverload.FindStringSubmatch(issue.Message); m != nil {
			p.message = fmt.Sprintf("%s does not take %s", shownOperator(m[1]), shownTypes(m[2]))
			p.hint = "convert an operand: string(x), int(x), double(x), timestamp(x)"
			if m[1] == "_?_:_" {
				p.hint = "both results must be of one type; write dyn(null) for a null"
			}
		}
		if line >= 1 && column >= 0 {
			p.message = fmt.Sprintf("%d:%d: %s", line, column+1, p.message)
		}
		if problems = append(problems, p); len(problems) == 10 {
			break
		}
	}
	return problems
}

// rest is the text from a place on.
func rest(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	runes := []rune(lines[line-1])
	return string(runes[min(max(column, 0), len(runes)):])
}

func unknownName(name, after string, schema tidegate.Schema) exprProblem {
	if strings.HasPrefix(after, name+"(") || strings.HasPrefix(after, "(") || strings.Contains(name, ".") {
		return unknownFunction(name)
	}
	if schema.Index(name) >= 0 && !model.IsLookupColumn(name) {
		return exprProblem{fmt.Sprintf("the column %q has a name that the language keeps for itself", name), fmt.Sprintf("write row[%q]", name)}
	}
	return exprProblem{fmt.Sprintf("the model has no column %q", name), config.DidYouMean(name, slices.DeleteFunc(schema.Names(), model.IsLookupColumn))}
}

var wrapper = regexp.MustCompile(`wrapper\(([a-z]+)\)`)

// shownTypes turns (wrapper(int), string) into int, string: that a column may be null goes without saying.
func shownTypes(signature string) string {
	return wrapper.ReplaceAllString(strings.TrimSuffix(strings.TrimPrefix(signature, "("), ")"), "$1")
}

// shownOperator turns _>_ into >.
func shownOperator(function string) string {
	if plain := strings.Trim(function, "_"); strings.HasPrefix(function, "_") && plain != "" && !identifier.MatchString(plain) {
		return plain
	}
	return strings.TrimPrefix(strings.TrimPrefix(function, "@"), "bounded_")
}
