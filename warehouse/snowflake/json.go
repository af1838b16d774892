package snowflake

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/internal/celltext"
)

// texts writes cells as Snowflake keeps them.
var texts = celltext.Texts{Kept: kept}

// kept says whether Snowflake keeps the value of a JSON number: as a decimal of up to
// 38 digits when it is written without an exponent, otherwise as a double.
func kept(number string) bool {
	if !strings.ContainsAny(number, "eE") {
		whole, fraction, _ := strings.Cut(strings.TrimPrefix(number, "-"), ".")
		whole = strings.TrimLeft(whole, "0")
		if len(whole)+len(fraction) <= 38 && len(fraction) <= 37 {
			return true
		}
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
