package mapping

import (
	"slices"
	"strings"
	"unicode"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
	"github.com/tidegate/tidegate/sync/model"
	"github.com/tidegate/tidegate/sync/normalize"
)

// Missing are the fields of a record that the object lacks, with the types of
// what fills them: what a Provisioner can be asked to create. A field that
// matches records is never among them, because it would match none.
func Missing(def tidegate.Mapping, m *model.Model, obj destinations.Object) []destinations.Field {
	if !def.CreateFields || obj.Open {
		return nil
	}
	var missing []destinations.Field
	for _, f := range def.Fields {
		known := slices.ContainsFunc(obj.Fields, func(have destinations.Field) bool { return have.Name == f.Field })
		if known || f.Field == "" || f.Field == def.Identifier {
			continue
		}
		missing = append(missing, destinations.Field{Name: f.Field, Label: label(f.Field), Type: typeOfSource(f, m, obj)})
	}
	return missing
}

// label makes "First name" of first_name.
func label(name string) string {
	words := strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == '-' || unicode.IsSpace(r) }), " ")
	if words == "" {
		return name
	}
	runes := []rune(words)
	return string(unicode.ToUpper(runes[0])) + string(runes[1:])
}

func typeOfSource(f tidegate.FieldMapping, m *model.Model, obj destinations.Object) tidegate.Type {
	text := tidegate.Type{Kind: tidegate.String}
	column := f.Column
	if f.Lookup != nil {
		column = m.Lookups[*f.Lookup]
	}
	switch at := m.Schema.Index(column); {
	case f.Normalize != "" || f.Hash != "" || f.Template != "":
		return text
	case at >= 0:
		return m.Schema[at].Type
	case f.Object != nil || f.Items != nil:
		return tidegate.Type{Kind: tidegate.JSON}
	case f.Expression != "":
		if e, _ := compileExpression(f.Expression, m.Schema, normalize.Rules(obj.Rules)); e != nil && e.kind != tidegate.Unknown {
			return tidegate.Type{Kind: e.kind}
		}
	case len(f.Constant) > 0:
		switch v, _ := model.ParseJSON(f.Constant); v.(type) {
		case bool:
			return tidegate.Type{Kind: tidegate.Bool}
		case int64:
			return tidegate.Type{Kind: tidegate.Int}
		case float64:
			return tidegate.Type{Kind: tidegate.Float}
		}
	}
	return text
}

// Suggest maps columns to fields of equal or kindred names whose types fit, the
// identifier first, then as the object lists them. Every column is used at most
// once. An open object without fields takes every column as it is.
func Suggest(m *model.Model, obj destinations.Object) tidegate.Mapping {
	columns := slices.DeleteFunc(slices.Clone(m.Schema), func(c tidegate.Column) bool { return model.IsLookupColumn(c.Name) })
	if obj.Open && len(obj.Fields) == 0 {
		return suggestAll(m, columns)
	}
	fields := slices.DeleteFunc(slices.Clone(obj.Fields), func(f destinations.Field) bool { return f.ReadOnly })
	slices.SortStableFunc(fields, func(a, b destinations.Field) int { return rank(a) - rank(b) })
	var out tidegate.Mapping
	used := map[string]bool{}
	taken := map[string]bool{}
	for likeness := same; likeness <= kindred; likeness++ { // the surest matches first, so that none is taken by a weaker one
		for _, f := range fields {
			if taken[f.Name] {
				continue
			}
			for _, c := range columns {
				if !used[c.Name] && likenessOf(c.Name, f) == likeness && canFit(c.Type.Kind, f.Type.Kind) {
					used[c.Name], taken[f.Name] = true, true
					out.Fields = append(out.Fields, tidegate.FieldMapping{Field: f.Name, Column: c.Name})
					break
				}
			}
		}
	}
	order := func(f tidegate.FieldMapping) int {
		return slices.IndexFunc(fields, func(d destinations.Field) bool { return d.Name == f.Field })
	}
	slices.SortFunc(out.Fields, func(a, b tidegate.FieldMapping) int { return order(a) - order(b) })
	if len(out.Fields) > 0 {
		if at := order(out.Fields[0]); fields[at].Identifier || obj.Open {
			out.Identifier = out.Fields[0].Field
		}
	}
	return out
}

func suggestAll(m *model.Model, columns tidegate.Schema) tidegate.Mapping {
	var out tidegate.Mapping
	if len(m.PrimaryKey) > 0 {
		out.Identifier = m.PrimaryKey[0]
	}
	for _, c := range columns {
		out.Fields = append(out.Fields, tidegate.FieldMapping{Field: strings.ReplaceAll(c.Name, ".", `\.`), Column: c.Name})
	}
	slices.SortStableFunc(out.Fields, func(a, b tidegate.FieldMapping) int {
		return b2i(a.Column != out.Identifier) - b2i(b.Column != out.Identifier)
	})
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rank puts identifiers before required fields before the others.
func rank(f destinations.Field) int {
	switch {
	case f.Identifier:
		return 0
	case f.Required:
		return 1
	}
	return 2
}

// How alike a column and a field are called, surest first.
const (
	same     = iota // the same name
	folded          // but for case and separators
	labelled        // as the field's label
	kindred         // another word for the same thing
	unlike
)

func likenessOf(column string, f destinations.Field) int {
	a, b := fold(column), fold(f.Name)
	switch {
	case column == f.Name:
		return same
	case a == b:
		return folded
	case a == fold(f.Label):
		return labelled
	case meaning(a) != "" && meaning(a) == meaning(b):
		return kindred
	}
	return unlike
}

// fold keeps letters and digits, in lower case.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// synonyms are words for one thing, folded; the first stands for the others.
var synonyms = [][]string{
	{"email", "mail", "emailaddress", "useremail", "contactemail", "primaryemail", "em"},
	{"phone", "phonenumber", "telephone", "tel", "mobile", "mobilephone", "cell", "cellphone", "ph"},
	{"firstname", "givenname", "forename", "fname", "fn"},
	{"lastname", "surname", "familyname", "lname", "ln"},
	{"fullname", "name", "displayname", "contactname"},
	{"company", "companyname", "organization", "organisation", "account", "accountname", "employer"},
	{"domain", "website", "url", "companydomain", "websiteurl", "homepage"},
	{"jobtitle", "title", "position", "role"},
	{"street", "address", "addressline1", "streetaddress", "address1", "mailingstreet"},
	{"city", "town", "locality", "mailingcity", "ct"},
	{"state", "region", "province", "mailingstate", "st"},
	{"zip", "postalcode", "postcode", "zipcode", "plz", "mailingpostalcode", "zp"},
	{"country", "countrycode", "countryname", "mailingcountry"},
	{"birthdate", "dateofbirth", "dob", "birthday", "db"},
	{"gender", "sex", "ge"},
	{"createdat", "created", "createdate", "creationdate", "signupdate", "signedupat"},
	{"updatedat", "updated", "modifiedat", "lastmodified", "lastmodifieddate"},
	{"id", "userid", "customerid", "externalid", "contactid", "uid"},
	{"plan", "tier", "subscription", "plantype"},
	{"revenue", "annualrevenue", "arr", "ltv", "lifetimevalue", "totalspent"},
	{"employees", "numberofemployees", "employeecount", "headcount", "companysize"},
	{"industry", "sector", "vertical"},
	{"language", "locale", "lang"},
	{"timezone", "tz"},
}

func meaning(name string) string {
	for _, group := range synonyms {
		if slices.Contains(group, name) {
			return group[0]
		}
	}
	return ""
}
