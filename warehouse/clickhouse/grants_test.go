package clickhouse

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate"
)

// TestEveryGrantOfThePageIsNamed: a server that lacks one of the privileges of the set-up SQL says which, in words
// that are the same for all; each becomes a Halt that holds the GRANT.
func TestEveryGrantOfThePageIsNamed(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/warehouses/clickhouse.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^GRANT (.+?) ON (\S+) TO`).FindAllStringSubmatch(string(page), -1) {
		depth, from := 0, 0
		list := m[1] + ","
		for i, r := range list {
			switch {
			case r == '(':
				depth++
			case r == ')':
				depth--
			case r == ',' && depth == 0:
				grant := strings.TrimSpace(list[from:i]) + " ON " + m[2]
				from = i + 1
				tried[grant] = true
				f := serverFault(497, "tidegate: Not enough privileges. To execute this query, it's necessary to have the grant "+grant+". (ACCESS_DENIED)", "", "tidegate")
				if f.Action != tidegate.Halt || f.Code != "warehouse.permission" || !strings.HasPrefix(f.Hint, "GRANT "+grant+" TO tidegate") {
					t.Errorf("%s: %+v", grant, f)
				}
			}
		}
	}
	if len(tried) < 15 {
		t.Errorf("the page has %d grants: %v", len(tried), tried)
	}
}
