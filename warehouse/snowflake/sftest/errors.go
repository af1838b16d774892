package sftest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// apiError is an error as Snowflake answers it.
type apiError struct{ code, state, message string }

func (e *apiError) Error() string { return e.code + " (" + e.state + "): " + e.message }

func failure(code, state, format string, args ...any) error {
	return &apiError{code, state, fmt.Sprintf(format, args...)}
}

var (
	caret      = regexp.MustCompile(`(?s)LINE (\d+): (.*)\n( *)\^`)
	nearWord   = regexp.MustCompile(`at or near "([^"]*)"`)
	lostColumn = regexp.MustCompile(`(?:Referenced column|column) "([^"]+)" not found`)
	lostTable  = regexp.MustCompile(`Table with name (.+?) does not exist`)
	lostSchema = regexp.MustCompile(`Schema with name (.+?) does not exist`)
	lostMacro  = regexp.MustCompile(`Function with name "?([^" ]+)"? does not exist`)
)

// translated is an error of DuckDB in Snowflake's words.
func translated(err error) error {
	var own *apiError
	if errors.As(err, &own) {
		return err
	}
	if errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "INTERRUPT") {
		return failure("000604", "57014", "SQL execution canceled")
	}
	message := err.Error()
	line, column := 1, 0
	if m := caret.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		column = max(0, len(m[3])-len("LINE "+m[1]+": "))
	}
	first, _, _ := strings.Cut(message, "\n")
	find := func(r *regexp.Regexp) string {
		if m := r.FindStringSubmatch(message); m != nil {
			return sqltext.Upper(strings.Trim(m[1], `"`))
		}
		return ""
	}
	switch {
	case strings.Contains(message, "Parser Error"):
		near := find(nearWord)
		if near == "" {
			near = "<EOF>"
		}
		return syntax(line, column, near)
	case find(lostColumn) != "":
		return failure("000904", "42000", "SQL compilation error: error line %d at position %d\ninvalid identifier '%s'", line, column, find(lostColumn))
	case find(lostMacro) != "":
		return failure("002141", "42601", "SQL compilation error:\nUnknown function %s", find(lostMacro))
	case find(lostTable) != "":
		return failure("002003", "42S02", "SQL compilation error:\nObject '%s' does not exist or not authorized.", find(lostTable))
	case find(lostSchema) != "":
		return failure("002003", "02000", "SQL compilation error:\nSchema '%s.%s' does not exist or not authorized.", Database, find(lostSchema))
	case strings.Contains(message, "does not exist"), strings.Contains(message, "No files found"): // a table that is called JSON
		return failure("002003", "42S02", "SQL compilation error:\nObject '%s' does not exist or not authorized.", first)
	case strings.Contains(message, "already exists"):
		return failure("002002", "42710", "SQL compilation error:\nObject '%s' already exists.", first)
	case strings.Contains(message, "Conversion Error"), strings.Contains(message, "Invalid Input Error"):
		return failure("100038", "22018", "%s", first)
	case strings.Contains(message, "Binder Error"), strings.Contains(message, "Catalog Error"):
		return failure("001044", "42P13", "SQL compilation error: error line %d at position %d\n%s", line, column, first)
	}
	return failure("000603", "XX000", "%s", first)
}
