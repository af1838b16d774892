package ingest

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/tidegate/tidegate"
)

// settingsAge is for how long browsers and caches may keep the settings.
const settingsAge = "public, max-age=300"

// object is a JSON object whose fields nobody here needs to name twice.
type object map[string]any

// settings answers what analytics.js and the mobile SDKs ask before they send
// anything. They take the address of events from it, and never start when it
// fails: a known key gets an answer even when its source is disabled.
func (s *surface) settings(w http.ResponseWriter, r *http.Request) {
	key := chi.URLParam(r, "writeKey")
	if _, ok := s.sources.ByWriteKey(key); !ok {
		publicCORS(w.Header())
		s.writeProblem(w, refuse(http.StatusNotFound, codeUnknownKey, "no source has this write key", "check the write key in the SDK's set-up"))
		return
	}
	scheme, host, ok := s.address(r)
	if !ok {
		s.writeProblem(w, refuse(http.StatusBadRequest, "request.bad_host", "the Host header is no host name", ""))
		return
	}
	publicCORS(w.Header())
	w.Header().Set("Cache-Control", settingsAge)
	writeJSON(w, http.StatusOK, settingsFor(key, scheme, host+"/v1"))
}

func settingsFor(key, scheme, apiHost string) object {
	on := object{"enabled": true}
	return object{
		// One integration only, so that no other bundle is fetched.
		"integrations": object{"Segment.io": object{
			"apiKey":                key, // becomes writeKey in every payload
			"apiHost":               apiHost,
			"protocol":              scheme,
			"addBundledMetadata":    true,
			"unbundledIntegrations": []string{},
			"maybeBundledConfigIds": object{},
			"retryQueue":            true,
			"versionSettings":       object{"version": "4.4.7", "componentTypes": []string{"browser"}},
			"httpConfig": object{
				"rateLimitConfig": object{"maxRetryCount": 10},
				"backoffConfig":   object{"maxRetryCount": 10},
			},
		}},
		"plan": object{
			"track":    object{"__default": object{"enabled": true, "integrations": object{}}},
			"identify": object{"__default": on},
			"group":    object{"__default": on},
		},
		"edgeFunction":         object{},
		"analyticsNextEnabled": true,
		"middlewareSettings":   object{"routingRules": []string{}},
		"enabledMiddleware":    object{},
		// Without a rate of zero the SDK reports about itself to its maker.
		"metrics":                   object{"sampleRate": 0, "host": apiHost},
		"legacyVideoPluginsEnabled": false,
		"remotePlugins":             []string{},
		"consentSettings":           object{"allCategories": []string{}, "hasUnmappedDestinations": true},
	}
}

// sourceConfig answers what the RudderStack browser SDK asks before it sends
// anything.
func (s *surface) sourceConfig(w http.ResponseWriter, r *http.Request) {
	key, ok := headerKey(r)
	if !ok {
		s.writeProblem(w, noKey())
		return
	}
	source, found := s.sources.ByWriteKey(key)
	if !found {
		_, p := s.source(r, key)
		s.writeProblem(w, p)
		return
	}
	w.Header().Set("Cache-Control", "private, max-age=300")
	writeJSON(w, http.StatusOK, sourceConfigFor(source))
}

// definedSince stands where the SDK wants dates that mean nothing to it here.
const definedSince = "1970-01-01T00:00:00.000Z"

func sourceConfigFor(source tidegate.Source) object {
	off := object{"enabled": false}
	return object{"source": object{
		"id": source.Name, "name": source.Name, "writeKey": source.WriteKey, "enabled": !source.Disabled,
		"workspaceId": tidegate.DefaultWorkspace, "createdAt": definedSince, "updatedAt": definedSince, "createdBy": "",
		"sourceDefinitionId": "javascript",
		"sourceDefinition":   object{"id": "javascript", "name": "Javascript", "displayName": "Javascript", "category": nil, "createdAt": definedSince, "updatedAt": definedSince},
		"config":             object{"statsCollection": object{"errors": off, "metrics": off}},
		"destinations":       []string{}, "connections": []string{},
		"liveEventsConfig": object{"eventUpload": false, "eventUploadTS": 0},
		"transient":        false, "secretVersion": nil, "deleted": false,
		"dataplanes": object{},
	}}
}
