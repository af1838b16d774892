package bigquery

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/celltext"
)

// texts writes cells as BigQuery keeps them.
var texts = celltext.Texts{Kept: kept}

// kept says whether BigQuery keeps the value of a JSON number.
func kept(number string) bool {
	if len(number) <= 15 && !strings.ContainsAny(number, "eE") {
		return true // a double has more than 15 digits
	}
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return true
	}
	if _, err := strconv.ParseUint(number, 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(number, 64)
	if at := strings.IndexAny(number, "eE"); at >= 0 {
		if exponent, bad := strconv.Atoi(number[at+1:]); bad != nil || exponent < -400 || exponent > 400 {
			return false // and would take long to look at
		}
	}
	if err != nil || len(number) > 1000 {
		return false
	}
	exact, ok := new(big.Rat).SetString(number)
	shortest, ok2 := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && ok2 && exact.Cmp(shortest) == 0
}
