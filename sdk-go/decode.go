package analytics

import (
	"encoding/json"
	"fmt"
)

// decodeMessage turns an encoded event back into a message, for callbacks. It
// works the same for what was enqueued a moment ago and for what a spool kept
// from an earlier process.
func decodeMessage(text []byte) (Message, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("decoding a queued message: %w", err)
	}
	switch head.Type {
	case "track":
		return decodeAs[Track](text)
	case "identify":
		return decodeAs[Identify](text)
	case "page":
		return decodeAs[Page](text)
	case "screen":
		return decodeAs[Screen](text)
	case "group":
		return decodeAs[Group](text)
	case "alias":
		return decodeAs[Alias](text)
	}
	return nil, fmt.Errorf("decoding a queued message: the type %q is unknown", head.Type)
}

func decodeAs[M Message](text []byte) (Message, error) {
	var m M
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("decoding a queued message: %w", err)
	}
	return m, nil
}
