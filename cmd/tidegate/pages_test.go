package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidegate/tidegate/control/local"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
)

var (
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	fileOf    = regexp.MustCompile(`^# ((?:models|syncs|forwards|plans|transforms)/\w+\.yaml|tidegate\.yaml)\b`)
	hereDoc   = regexp.MustCompile(`(?s)cat (>>?) tour/(\S+) <<'(YAML|SQL)'\n(.*?)\n(?:YAML|SQL)\n`)
)

// around is what blocks of the pages refer to.
func around() map[string]string {
	return map[string]string{
		"tidegate.yaml": `
destinations: [{name: crm, kind: hubspot, config: {token: "${env:TOKEN}"}}]
`,
		"models/people.sql":   "-- primary_key: id\nSELECT id, email, first_name, score, plan_id, city, line_1, line_2 FROM web.users\n",
		"models/plans.yaml":   "table: web.plans\nprimary_key: [id]\n",
		"models/active.yaml":  "table: web.active\nprimary_key: [id]\n",
		"models/deals.sql":    "-- primary_key: id\nSELECT id, email FROM web.deals\n",
		"syncs/contacts.yaml": "model: people\ndestination: crm\nobject: contacts\nmapping: {identifier: email, fields: [{field: email, column: email}]}\n",
		"syncs/deals.yaml":    "model: deals\ndestination: crm\nobject: contacts\nmapping: {identifier: email, fields: [{field: email, column: email}]}\n",
		"plans/shop.yaml":     "events: {Sold: {properties: {total: number}}}\n",
		"data/plans.csv":      "id,title\n1,Free\n",
	}
}

// fileOfBlock says as which file of a project a block of a page is meant; it is empty for
// what belongs to dbt, a pipeline or the middle of a file.
func fileOfBlock(block string) (name, text string) {
	if m := fileOf.FindStringSubmatch(block); m != nil {
		return m[1], block
	}
	switch key, _, _ := strings.Cut(block, ":"); key {
	case "sources", "streams":
		return "tidegate.yaml", block
	case "mapping":
		return "syncs/mapped.yaml", "model: people\ndestination: crm\nobject: contacts\n" + block
	}
	return "", ""
}

// TestPagesConfigure: every piece of a project that a page shows is one that this program takes.
func TestPagesConfigure(t *testing.T) {
	t.Parallel()
	kinds := local.New("dev", time.Now).Kinds
	var pages []string
	for _, pattern := range []string{"*.md", "warehouses/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", "docs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	read := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			name, block := fileOfBlock(m[1])
			if name == "" {
				continue
			}
			read++
			files := around()
			if name == "models/people.yaml" {
				block += "primary_key: [id]\n"
				files["models/people.sql"] = "SELECT id FROM active JOIN plans USING (id)\n"
			}
			if name != "tidegate.yaml" {
				files[name] = block
			} else {
				files[name] += block
			}
			for key, value := range map[string]string{
				"warehouse": "{kind: duckdb}", "sources": "[{name: web, write_key: WK}]", "dbt": "[{target: shop/target}]",
				"warehouses": `[{name: lake, kind: postgres, config: {host: db.example.com, database: shop, user: tidegate, password: "${env:LAKE}"}}]`,
			} {
				if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(files["tidegate.yaml"]) {
					files["tidegate.yaml"] += key + ": " + value + "\n"
				}
			}
			fsys := fstest.MapFS{}
			for name, text := range files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if _, err := project.Load(fsys, kinds); err != nil {
				t.Errorf("%s, as %s: %s\n%s", page, name, problems(err), block)
			}
		}
	}
	if read < 20 {
		t.Errorf("%d blocks were found: this looks in the wrong place", read)
	}
}

// TestTourConfigures: the files of the README's tour are a project after each step.
func TestTourConfigures(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	written := hereDoc.FindAllStringSubmatch(string(text), -1)
	if len(written) != 4 {
		t.Fatalf("%d files are written, want 4", len(written))
	}
	for i, m := range written {
		content := m[4] + "\n"
		if old := fsys[m[2]]; m[1] == ">>" && old != nil {
			content = string(old.Data) + content
		}
		fsys[m[2]] = &fstest.MapFile{Data: []byte(content)}
		if i != 0 && i != len(written)-1 {
			continue // the destination comes last
		}
		if _, err := project.Load(fsys, local.New("dev", time.Now).Kinds); err != nil {
			t.Errorf("after %s: %s", m[2], problems(err))
		}
	}
}

func problems(err error) string {
	var invalid *config.Error
	if !errors.As(err, &invalid) {
		return err.Error()
	}
	var all []string
	for _, p := range invalid.Problems {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}
