package bqtest

import (
	"net/http"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// denial is what an account may not do, in one dataset or, without one, anywhere. The zero value may do everything.
type denial struct{ permission, dataset string }

// Deny takes a permission from an account of ServiceAccount, in one dataset or, with "", everywhere. Without a permission the account may do
// everything again. What an account lacks is looked at where Google looks at it: when a call is made, or when a
// job runs, and is refused in Google's words.
func (s *Server) Deny(account, permission, dataset string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied["token-"+account] = denial{permission, dataset}
}

// who is the account of a call; false for one that is not known.
func (s *Server) who(authorization string) (denial, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.locked {
		return denial{}, true
	}
	d, known := s.denied[strings.TrimPrefix(authorization, "Bearer ")]
	return d, known
}

// use is an error where the account lacks a permission that t needs.
func (d denial) use(permission string, t target) error {
	if permission == "" || d.permission != permission || d.dataset != "" && d.dataset != t.dataset {
		return nil
	}
	dataset, table := Project+":"+t.dataset, Project+":"+t.key()
	denied := func(format string, args ...any) error {
		return failure(http.StatusForbidden, "accessDenied", "Access Denied: "+format, args...)
	}
	switch permission {
	case "bigquery.jobs.create", "bigquery.datasets.create":
		return denied("Project %s: User does not have %s permission in project %s.", Project, permission, Project)
	case "bigquery.tables.create", "bigquery.tables.list", "bigquery.datasets.get":
		return denied("Dataset %s: Permission %s denied on dataset %s (or it may not exist).", dataset, permission, dataset)
	case "bigquery.tables.getData":
		return denied("Table %s: User does not have permission to query table %s, or perhaps it does not exist.", table, table)
	}
	return denied("Table %s: Permission %s denied on table %s (or it may not exist).", table, permission, table)
}

// authorized looks at the token, once accounts are wanted, and at what the call itself needs.
func (s *Server) authorized(r *http.Request) error {
	if r.URL.Path == "/token" {
		return nil
	}
	d, known := s.who(r.Header.Get("Authorization"))
	if !known {
		return failure(http.StatusUnauthorized, "authError", "Request had invalid authentication credentials.")
	}
	_, path, _ := strings.Cut(r.URL.Path, "/projects/"+Project+"/")
	part := append(strings.Split(path, "/"), "", "", "", "")
	t := target{part[1], part[3]}
	permission := ""
	switch r.Method + " " + part[0] {
	case "POST jobs":
		permission = "bigquery.jobs.create"
	case "POST datasets":
		if permission = "bigquery.datasets.create"; t.dataset != "" {
			permission = "bigquery.tables.create"
		}
	case "GET datasets":
		switch {
		case t.table != "":
			permission = "bigquery.tables.get"
		case part[2] == "tables":
			permission = "bigquery.tables.list"
		case t.dataset != "":
			permission = "bigquery.datasets.get"
		}
	case "DELETE datasets":
		permission = "bigquery.tables.delete"
	}
	return d.use(permission, t)
}

// load is an error where the account lacks what a load job needs. created says that the job makes the table.
func (d denial) load(t *bq.TableReference, created bool) error {
	id := target{t.DatasetId, t.TableId}
	if created {
		if err := d.use("bigquery.tables.create", id); err != nil {
			return err
		}
	}
	return d.use("bigquery.tables.updateData", id)
}

// statement is an error where the account lacks what a statement needs.
func (d denial) statement(ts []token) error {
	if d.permission == "" {
		return nil
	}
	permission := map[string]string{
		"insert": "bigquery.tables.updateData", "update": "bigquery.tables.updateData", "delete": "bigquery.tables.updateData", "merge": "bigquery.tables.updateData",
		"create": "bigquery.tables.create", "alter": "bigquery.tables.update", "drop": "bigquery.tables.delete",
	}[strings.ToLower(ts[0].value)]
	written := permission != ""
	if written && d.permission == "bigquery.datasets.create" && ts[0].is("create") && ts[1].is("schema") {
		return d.use(d.permission, target{})
	}
	for i, t := range ts[:len(ts)-1] {
		if !t.is("into", "update", "from", "join", "using", "table", "exists") || ts[i+1].is("if") {
			continue
		}
		dataset, table, _ := tableAt(ts[i+1:])
		if dataset == "" {
			continue
		}
		needs := "bigquery.tables.getData"
		if written { // the first table is what is written to
			needs, written = permission, false
		}
		if err := d.use(needs, target{dataset, table}); err != nil {
			return err
		}
	}
	return nil
}
