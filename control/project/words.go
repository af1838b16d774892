package project

import (
	_ "embed"
	"encoding/json"
	"sync"

	"github.com/tidegate/tidegate/internal/config"
)

// wordsFile is what the comments of the definitions' fields say; a test makes it
// from them and holds it to them.
//
//go:embed words.json
var wordsFile []byte

// words says what the keys of the definitions mean.
var words = sync.OnceValue(func() config.Words {
	var w config.Words
	if err := json.Unmarshal(wordsFile, &w); err != nil { // the test makes it
		panic(err)
	}
	return w
})
