package api

import (
	"embed"
	"net/http"
)

//go:embed docs
var docs embed.FS

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.spec) // the client may be gone
}

func serveDocs(w http.ResponseWriter, r *http.Request)       { serveAsset(w, r, "page.html") }
func serveDocsScript(w http.ResponseWriter, r *http.Request) { serveAsset(w, r, "docs.js") }
func serveDocsStyle(w http.ResponseWriter, r *http.Request)  { serveAsset(w, r, "docs.css") }

func serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	http.ServeFileFS(w, r, docs, "docs/"+name)
}
