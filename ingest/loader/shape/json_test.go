package shape

import (
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// TestSpecial holds the search by words against one by bytes, at every alignment.
func TestSpecial(t *testing.T) {
	t.Parallel()
	slow := func(b []byte, i int) int {
		for ; i < len(b); i++ {
			if c := b[i]; c == '"' || c == '\\' || c < 0x20 || c >= utf8.RuneSelf {
				break
			}
		}
		return i
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(0x20 + r.IntN(0x60))
			if r.IntN(12) == 0 {
				b[i] = byte(r.IntN(256))
			}
		}
		for i := range len(b) + 1 {
			if got, want := special(b, i), slow(b, i); got != want {
				t.Fatalf("special(%q, %d) = %d, want %d", b, i, got, want)
			}
		}
	}
}
