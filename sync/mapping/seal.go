package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/destinations"
)

// versionFormat changes whenever Apply gives another record for the same row
// and mapping.
const versionFormat = "mapping 2"

// seal computes the version from everything that a record depends on: the
// definition, and of the object what the compiler took from it.
func (m *Mapping) seal(def tidegate.Mapping, obj destinations.Object) error {
	fields, err := json.Marshal(def.Fields)
	if err != nil {
		return fmt.Errorf("sealing the mapping: %w", err)
	}
	b := fmt.Appendf(nil, "%s\x00%s\x00%s\x00%q\x00%q\x00%d\x00%s", versionFormat, obj.Name, obj.Rules, m.columns, m.identifier, m.keys, fields)
	for _, n := range m.fields {
		b = fmt.Appendf(b, "\x00%q %s %t", n.name, n.kind, n.required)
	}
	sum := sha256.Sum256(b)
	m.version = hex.EncodeToString(sum[:12])
	return nil
}
