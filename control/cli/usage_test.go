package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/control/cli"
)

// TestMisplacedNames: a name that is given as an argument where a flag is meant, or the other
// way round, and a command that is misspelled, are told how it is written.
func TestMisplacedNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "event.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{
		"tracking violations web":     "`--source web`",
		"tracking check web":          "`--plan web` or `--source web`",
		"tracking check " + file:      "`--events " + file + "`",
		"tracking infer web":          "`--source web`",
		"tracking codegen web":        "`--plan web`",
		"plan codegen web":            "`--plan web`",
		"events tail web":             "`--source web`",
		"events dead web":             "`--source web`",
		"events reconcile web":        "`--source web`",
		"events replay web":           "`--source web`",
		"events replay lst":           `did you mean "list"?`,
		"events replay list rp_1":     "`tidegate events replay show rp_1`",
		"explain web":                 "`--source web`",
		"explain " + file:             "`tidegate explain < " + file + "`",
		"transform run clean " + file: "`tidegate transform run NAME < " + file + "`",
		"privacy suppress u1":         "`--user-id u1`",
		"privacy delete u1":           "`--user-id u1`",
		"privacy scan web":            "`--source web`",
		"privacy deletions d_1":       "`tidegate privacy receipt d_1`",
		"forward list crm":            "`tidegate forward status crm`",
		"sync log crm run_1":          "`--run run_1`",
		"dbt check shop":              "`--dbt shop`",
		"export folder":               "`--dir folder`",
		"serve " + dir:                "`--project " + dir + "`",
		"doctor " + dir:               "`--project " + dir + "`",
		"warehouse migrate lake":      "`tidegate warehouse migrate --from NAME --to NAME`",
		"version 1":                   `"1" is one argument too many`,
		"sync run a b":                "it is `tidegate sync run NAME`",
		"sync run":                    "NAME is missing: it is `tidegate sync run NAME`",
		"sync suggest people crm":     "OBJECT is missing",
		"query SELECT 1":              "put the statement into quotes",
		"exec":                        "COMMAND is missing",
		"sync crm":                    "there is no command \"crm\" in `tidegate sync`",
		"sync rnus crm":               `did you mean "runs"?`,
		"synk status":                 `did you mean "sync"?`,
		"schema file plan":            `invalid argument "plan"`,
		"sync run --sync crm":         "it is `tidegate sync run NAME`",
		"forward status --forward f":  "it is `tidegate forward status NAME`",
		"model preview --name m":      "it is `tidegate model preview NAME`",
		"events stream --stream s":    "it is `tidegate events stream NAME`",
		"schema --source web":         "it is `tidegate schema [SOURCE[.TABLE]]`",
		"check --dir .":               "it is `tidegate check [DIR]`",
		"events tail --limt 3":        "did you mean --limit?",
		"doctor --source web":         "see `tidegate doctor --help`",
	} {
		var out, errs strings.Builder
		code := cli.Run(t.Context(), cli.Env{Args: strings.Fields(typed), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }, Local: local()})
		if code != cli.ExitUsage || !strings.Contains(errs.String(), want) || strings.Contains(errs.String(), "unknown command") || strings.Contains(errs.String(), "arg(s)") {
			t.Errorf("tidegate %s: %d, %swant %s", typed, code, errs.String(), want)
		}
	}
}
