package vault

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/secret"
)

const keyBytes = 32

// The variables that name a key from elsewhere, and the file of the hub's own.
const (
	KeyVariable     = "TIDEGATE_SECRETS_KEY"
	KeyFileVariable = "TIDEGATE_SECRETS_KEY_FILE"
	KeyFile         = "secrets.key"
)

// maxKeys bounds a ring: the newest key and those that are being replaced.
const maxKeys = 16

// key is one key with the id by which records name it.
type key struct {
	id    string
	bytes []byte
}

func keyOf(raw []byte) key {
	sum := sha256.Sum256(append([]byte("tidegate secrets key "), raw...))
	return key{id: hex.EncodeToString(sum[:6]), bytes: raw}
}

func newKey() key {
	raw := make([]byte, keyBytes)
	_, _ = rand.Read(raw) // never errs
	return keyOf(raw)
}

// keyring is every key that the hub has. The first one encrypts, all decrypt.
type keyring struct {
	keys    []key
	from    string // where the first one comes from
	foreign bool   // the first one is not the hub's own
}

func (r keyring) find(id string) (key, bool) {
	for _, k := range r.keys {
		if k.id == id {
			return k, true
		}
	}
	return key{}, false
}

// has tells what there is, for a person who looks for a lost key.
func (r keyring) has() string {
	if len(r.keys) == 0 {
		return "it has no key at all"
	}
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return "it has " + strings.Join(ids, ", ") + " from " + r.from
}

func (r keyring) info(s store.Secret) Info {
	_, ok := r.find(s.KeyID)
	return Info{Name: s.Name, Version: s.Version, SetAt: s.At, SetBy: s.Author, Key: s.KeyID, Lost: !ok}
}

func (v *Vault) keyFile() string { return filepath.Join(v.o.Data, KeyFile) }

func (v *Vault) places() string {
	return fmt.Sprintf("%s, %s or %s; one key a line, the first one encrypts", v.keyFile(), KeyVariable, KeyFileVariable)
}

// ring reads the keys. Those of the hub's own file decrypt also where another key
// encrypts, so that one may be replaced by the other.
func (v *Vault) ring() (keyring, error) {
	var r keyring
	if text, ok := v.o.Env(KeyVariable); ok && text != "" {
		if err := r.add(text, "the variable "+KeyVariable, true); err != nil {
			return r, err
		}
	}
	if path, ok := v.o.Env(KeyFileVariable); ok && path != "" {
		text, err := os.ReadFile(path) //nolint:gosec // the operator names it
		if err != nil {
			return r, &tidegate.Fault{
				Action: tidegate.Halt, Code: "secret.key_unreadable", Subject: KeyFileVariable, Message: err.Error(), Hint: "name a file that this user may read, or leave the variable out", Err: err,
			}
		}
		if err := r.add(string(text), "the file "+path, true); err != nil {
			return r, err
		}
	}
	own, err := secret.ReadFile(v.keyFile())
	if err != nil && !missing(err) {
		return r, err
	}
	return r, r.add(own.Reveal(), "the file "+v.keyFile(), false)
}

// add appends the keys of a text.
func (r *keyring) add(text, from string, foreign bool) error {
	for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ',' || c <= ' ' }) {
		raw, err := decodeKey(word)
		if err != nil || len(raw) != keyBytes || weak(raw) {
			return &tidegate.Fault{ // the text may be a key with a mistake: it is not shown (Invariant 9)
				Action: tidegate.Halt, Code: "secret.key_invalid", Subject: from, Message: fmt.Sprintf("a key is %d random bytes in base64", keyBytes), Hint: "make one: openssl rand -base64 32",
			}
		}
		if len(r.keys) == 0 {
			r.from, r.foreign = from, foreign
		}
		if k := keyOf(raw); len(r.keys) < maxKeys {
			r.keys = append(r.keys, k)
		}
	}
	return nil
}

func decodeKey(word string) ([]byte, error) {
	word = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(word, "="))
	return base64.RawStdEncoding.DecodeString(word)
}

// weak says whether raw cannot be random: 32 random bytes have fewer than 16 different ones
// about once in 10^12.
func weak(raw []byte) bool {
	var seen [256]bool
	n := 0
	for _, b := range raw {
		if !seen[b] {
			seen[b] = true
			n++
		}
	}
	return n < 16
}

// makeKey makes the hub's own key. Secrets whose key was lost stay so, and say it.
func (v *Vault) makeKey() (keyring, error) {
	k := newKey()
	err := secret.CreateFile(v.keyFile(), keyText([]key{k}))
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return v.ring()
	}
	return keyring{keys: []key{k}, from: "the file " + v.keyFile()}, err
}

// prependKey puts a new key before those of the hub's own file.
func (v *Vault) prependKey(keys []key) ([]key, error) {
	keys = append([]key{newKey()}, keys...)
	if len(keys) > maxKeys {
		return nil, &tidegate.Fault{Action: tidegate.Halt, Code: "secret.key_invalid", Subject: v.keyFile(), Message: fmt.Sprintf("there are more than %d keys", maxKeys-1), Hint: "take out those that no secret needs: tidegate secrets list names the keys in use"}
	}
	return keys, v.writeKeys(keys)
}

func (v *Vault) writeKeys(keys []key) error { return secret.WriteFile(v.keyFile(), keyText(keys)) }

func keyText(keys []key) secret.Secret {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k.bytes) + "\n")
	}
	return secret.New(b.String())
}
