package api

import (
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"

	"github.com/tidegate/tidegate/control/auth"
)

// Declared is a line of the route table.
type Declared struct {
	Method, Path, ID string
	Permission       auth.Permission
}

// Routes returns the table and, sorted, what the mux really serves.
func Routes(o Options) (declared []Declared, mounted []string, err error) {
	s := &server{o: o}
	for _, r := range s.table() {
		declared = append(declared, Declared{Method: r.method, Path: r.path, ID: r.id, Permission: r.permission})
	}
	mux, err := s.mount()
	if err != nil {
		return nil, nil, err
	}
	err = chi.Walk(mux, func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		mounted = append(mounted, method+" "+path)
		return nil
	})
	slices.Sort(mounted)
	return declared, mounted, err
}
