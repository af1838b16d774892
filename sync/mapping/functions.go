package mapping

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// functionNames are offered where a name is unknown.
func functionNames() []string {
	return []string{
		"base64.decode", "base64.encode", "bool", "bytes", "cel.bind", "charAt", "coalesce", "contains", "double", "duration", "dyn", "endsWith", "exists", "filter",
		"format", "getDate", "getDayOfMonth", "getDayOfWeek", "getFullYear", "getHours", "getMonth", "has", "hash", "indexOf", "int", "join", "lastIndexOf", "lower",
		"lowerAscii", "map", "matches", "math.abs", "math.ceil", "math.floor", "math.greatest", "math.least", "math.round", "math.trunc", "normalize", "replace",
		"reverse", "size", "split", "startsWith", "string", "substring", "timestamp", "trim", "type", "upper", "upperAscii",
	}
}

// functions are those of the language's string, math and encoder extensions,
// and our own:
//
//	coalesce(a, b, …)               the first that is not null, or null
//	hash("sha256", text)            the digest in hexadecimal digits
//	normalize("email", text)        as the field option, by the destination's rules
//	normalize("phone", text, "DE")  with the country that numbers are read by; null when it cannot be normalised
//	text.lower(), text.upper()      of every script
//
// replace and join are ours, because those of the extension can write a text of
// any length before a limit is asked.
func functions(rules normalize.Rules) []cel.EnvOption {
	text := []*cel.Type{cel.StringType}
	return []cel.EnvOption{
		ext.Strings(ext.StringsVersion(5)), ext.Math(), ext.Encoders(ext.EncodersVersion(1)), ext.Bindings(),
		cel.Macros(bounded("replace", 2), bounded("replace", 3), bounded("join", 0), bounded("join", 1)),
		cel.Function("bounded_replace",
			cel.Overload("bounded_replace_3", []*cel.Type{cel.StringType, cel.StringType, cel.StringType}, cel.StringType, cel.FunctionBinding(boundedReplace)),
			cel.Overload("bounded_replace_4", []*cel.Type{cel.StringType, cel.StringType, cel.StringType, cel.IntType}, cel.StringType, cel.FunctionBinding(boundedReplace))),
		cel.Function("bounded_join",
			cel.Overload("bounded_join_1", []*cel.Type{cel.ListType(cel.StringType)}, cel.StringType, cel.FunctionBinding(boundedJoin)),
			cel.Overload("bounded_join_2", []*cel.Type{cel.ListType(cel.StringType), cel.StringType}, cel.StringType, cel.FunctionBinding(boundedJoin))),
		cel.Function("lower", cel.MemberOverload("string_lower", text, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(strings.ToLower(string(v.(types.String)))) }))), //nolint:forcetypeassert // the checker's type
		cel.Function("upper", cel.MemberOverload("string_upper", text, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val { return types.String(strings.ToUpper(string(v.(types.String)))) }))), //nolint:forcetypeassert // the checker's type
		cel.Function("coalesce",
			cel.Overload("coalesce_2", dyns(2), cel.DynType, cel.FunctionBinding(coalesce)),
			cel.Overload("coalesce_3", dyns(3), cel.DynType, cel.FunctionBinding(coalesce)),
			cel.Overload("coalesce_4", dyns(4), cel.DynType, cel.FunctionBinding(coalesce))),
		cel.Function("hash", cel.Overload("hash_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.StringType, cel.BinaryBinding(digest))),
		cel.Function("normalize",
			cel.Overload("normalize_2", dyns(2), cel.DynType, cel.FunctionBinding(normalizer(rules))),
			cel.Overload("normalize_3", dyns(3), cel.DynType, cel.FunctionBinding(normalizer(rules)))),
	}
}

func dyns(n int) []*cel.Type {
	list := make([]*cel.Type, n)
	for i := range list {
		list[i] = cel.DynType
	}
	return list
}

// bounded turns x.name(args) into bounded_name(x, args).
func bounded(name string, args int) cel.Macro {
	return cel.ReceiverMacro(name, args, func(eh cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		return eh.NewCall("bounded_"+name, append([]ast.Expr{target}, args...)...), nil
	})
}

func tooLong() ref.Val {
	return types.NewErr("the expression writes more than %d bytes", model.MaxValueBytes)
}

func boundedReplace(args ...ref.Val) ref.Val {
	s, old, with := string(args[0].(types.String)), string(args[1].(types.String)), string(args[2].(types.String)) //nolint:forcetypeassert // the checker's types
	n := -1
	if len(args) == 4 {
		n = int(args[3].(types.Int)) //nolint:forcetypeassert // the checker's type
	}
	times := strings.Count(s, old)
	if n >= 0 {
		times = min(times, n)
	}
	if len(s)+times*(len(with)-len(old)) > model.MaxValueBytes {
		return tooLong()
	}
	return types.String(strings.Replace(s, old, with, n))
}

func boundedJoin(args ...ref.Val) ref.Val {
	sep := ""
	if len(args) == 2 {
		sep = string(args[1].(types.String)) //nolint:forcetypeassert // the checker's type
	}
	var b strings.Builder
	first := true
	for it := args[0].(traits.Lister).Iterator(); it.HasNext() == types.True; first = false { //nolint:forcetypeassert // the checker's type
		item, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("no such overload: join of what is no text")
		}
		if !first {
			b.WriteString(sep)
		}
		b.WriteString(string(item))
		if b.Len() > model.MaxValueBytes {
			return tooLong()
		}
	}
	return types.String(b.String())
}

func coalesce(args ...ref.Val) ref.Val {
	for _, v := range args {
		if v != types.NullValue {
			return v
		}
	}
	return types.NullValue
}

func digest(algorithm, text ref.Val) ref.Val {
	sum, err := normalize.Digest(string(algorithm.(types.String)), string(text.(types.String))) //nolint:forcetypeassert // the checker's types
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(sum)
}

// normalizer gives null for what cannot be normalised: an expression can then
// choose something else, where the field option rejects the record.
func normalizer(rules normalize.Rules) func(args ...ref.Val) ref.Val {
	return func(args ...ref.Val) ref.Val {
		words := make([]string, 3)
		for i, arg := range args {
			if arg == types.NullValue {
				return types.NullValue
			}
			text, ok := arg.ConvertToType(types.StringType).(types.String)
			if !ok {
				return types.NewErr("normalize takes texts")
			}
			words[i] = string(text)
		}
		if !slices.Contains(normalize.Kinds(), words[0]) {
			return types.NewErr("there is no normal form %q", words[0])
		}
		text, err := normalize.Text(rules, words[0], words[2], words[1])
		if err != nil || text == "" {
			return types.NullValue
		}
		return types.String(text)
	}
}
