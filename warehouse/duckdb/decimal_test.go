package duckdb

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestDecimalRoundTrip compares with math/big.
func TestDecimalRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		precision := rapid.IntRange(1, 38).Draw(t, "precision")
		scale := rapid.IntRange(0, precision).Draw(t, "scale")
		digits := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789")), 1, precision, -1).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		if rapid.Bool().Draw(t, "negative") {
			n.Neg(n)
		}
		text := canonical(n, scale)
		got, err := parseDecimal(text, precision, scale)
		if err != nil {
			t.Fatalf("%s as decimal(%d,%d): %v", text, precision, scale, err)
		}
		if hugeOf(got).Cmp(n) != 0 {
			t.Fatalf("%s became %v, want %v", text, hugeOf(got), n)
		}
		if back := string(appendDecimal(nil, got, scale)); back != text {
			t.Fatalf("%s came back as %s", text, back)
		}
	})
}

func hugeOf(n int128) *big.Int {
	v := new(big.Int).Lsh(big.NewInt(int64(n.hi)), 64)
	return v.Add(v, new(big.Int).SetUint64(n.lo))
}

// canonical writes n / 10^scale as the nouns want it.
func canonical(n *big.Int, scale int) string {
	sign, digits := "", new(big.Int).Abs(n).String()
	if n.Sign() < 0 {
		sign = "-"
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	whole, fraction := digits[:len(digits)-scale], strings.TrimRight(digits[len(digits)-scale:], "0")
	if fraction == "" {
		return sign + whole
	}
	return sign + whole + "." + fraction
}

func FuzzParseDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-0.1", "1e3", "", "-", ".", "1.", ".1", "00.10", "99999999999999999999999999999999999999", "1.2.3", "+1", "١"} {
		f.Add(seed, 9)
	}
	f.Fuzz(func(t *testing.T, text string, scale int) {
		scale = max(0, min(scale, 38))
		n, err := parseDecimal(text, 38, scale)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q was taken for a number", text)
		}
		got := new(big.Rat).SetFrac(hugeOf(n), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		if got.Cmp(want) != 0 {
			t.Fatalf("%q became %v", text, got)
		}
	})
}
