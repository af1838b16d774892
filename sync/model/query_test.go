package model

import "testing"

func TestCheckQuery(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"select 1 as id":      "",
		"SELECT 1 AS id ;\n ": "",
		"select ';' as id, \"; delete\" from t -- ; drop":        "",
		"-- delete\n/* ; delete */ with t as (select 1) table t": "",
		"(select 1) union (select 2)":                            "",
		"from t select id":                                       "", // DuckDB
		"select delete, update from t":                           "",
		`select 'it\'s; fine' from t`:                            "", // BigQuery, Snowflake: read wrongly here, and left alone
		"select $$; select $$":                                   "",
		"call list_of('x')":                                      "", // not known: the warehouse says it
		"; select 1":                                             "",
		"{{ id }}; select 1":                                     "1:11: a second statement begins here; a model is one query",
		"delete from t":                                          "1:1: DELETE does not read; a model is one query",
		"-- a comment\n  DROP table t":                           "2:3: DROP does not read; a model is one query",
		"(insert into t values (1))":                             "1:2: INSERT does not read; a model is one query",
		"select 1 as id;\n\n-- and\nselect 2 as id":              "4:1: a second statement begins here; a model is one query",
		"select 'ä;' as id; ; delete from t":                     "1:22: a second statement begins here; a model is one query",
	} {
		got := ""
		for _, p := range CheckQuery(sql) {
			got += p.Message
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", sql, got, want)
		}
	}
}

func FuzzCheckQuery(f *testing.F) {
	f.Add("select 1; select 2")
	f.Add("$a$'\"`--")
	f.Fuzz(func(t *testing.T, sql string) {
		if problems := CheckQuery(sql); len(problems) > 1 {
			t.Errorf("%q: %d problems", sql, len(problems))
		}
	})
}
