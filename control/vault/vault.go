// Package vault keeps the secrets that live in the control store, encrypted.
//
//	value ──AES-256-GCM──▶ sealed        by a key of the secret's own
//	own key ──AES-256-GCM──▶ wrapped     by the first key of the ring, whose id stands beside it
//	ring: TIDEGATE_SECRETS_KEY, or the file TIDEGATE_SECRETS_KEY_FILE; else DATA/secrets.key, made at the first Set
//
// Invariants: the store gets ciphertext only; what is encrypted names its workspace,
// secret and version, so that no row can stand in for another; nothing but Reveal
// returns a value (Invariant 9); after Rotate nothing is left that the ring's first
// key does not open, and a Rotate that was cut short leaves everything readable.
//
// It does not guard the key: whoever reads the whole data folder with secrets.key in it
// reads the secrets. Keys and records are read anew for every call, so that a key
// that was replaced needs no restart. A Vault is safe for concurrent use and starts no
// goroutine; only one process at a time may Set and Rotate on a data folder.
package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/secret"
)

// MaxBytes is how long a secret may be.
const MaxBytes = 64 << 10

// Store is where ciphertext is kept; *store.Workspace satisfies it.
type Store interface {
	ID() string
	PutSecret(ctx context.Context, actor, name string, seal func(s *store.Secret) error) (store.Secret, error)
	RemoveSecret(ctx context.Context, actor, name string) (bool, error)
	RewrapSecrets(ctx context.Context, actor string, rewrap func(s *store.Secret) error) (int, error)
	Secrets(ctx context.Context) ([]store.Secret, error)
	Secret(ctx context.Context, name string) (store.Secret, error)
}

// Options say where ciphertext and keys are.
type Options struct {
	Store Store
	// Data is the folder of secrets.key.
	Data string
	// Env is os.LookupEnv outside of tests.
	Env func(string) (string, bool)
}

// Vault is the secrets of one workspace.
type Vault struct {
	o  Options
	mu sync.Mutex // one Set or Rotate at a time: a key that is being replaced seals nothing
}

// New makes a Vault; it reads nothing yet.
func New(o Options) *Vault { return &Vault{o: o} }

// Info is what may be shown of a secret.
type Info struct {
	Name    string    `json:"name"`
	Version int64     `json:"version" doc:"How often it was set."`
	SetAt   time.Time `json:"set_at"`
	SetBy   string    `json:"set_by"`
	Key     string    `json:"key" doc:"The id of the key that it is encrypted by."`
	// Lost secrets cannot be read, because the hub does not have their key.
	Lost bool `json:"lost,omitempty" doc:"The hub does not have that key: the secret cannot be read."`
	// UsedBy is filled by those who know the definitions.
	UsedBy []string `json:"used_by,omitempty" doc:"The definitions that refer to it."`
}

// Stored is what Set did.
type Stored struct {
	Info
	// MadeKey is the file of a key that was made for it: it must be kept apart from backups.
	MadeKey string `json:"made_key,omitempty" doc:"The file of the key that was made at this first secret."`
	// Problem is why the new value is not in use yet.
	Problem string `json:"problem,omitempty" doc:"Why the definitions that use it could not take it up."`
}

// Rotated is what Rotate did.
type Rotated struct {
	Key       string `json:"key" doc:"The id of the key that all secrets are encrypted by now."`
	Rewrapped int    `json:"rewrapped" doc:"How many secrets had another key before."`
	From      string `json:"from" doc:"Where the key comes from."`
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

// Set stores value as the next version of the secret called name.
func (v *Vault) Set(ctx context.Context, actor, name string, value secret.Secret) (Stored, error) {
	if !namePattern.MatchString(name) {
		return Stored{}, invalid("secret "+name, "this cannot be the name of a secret", "use letters, digits, _, . and -, a letter first, at most 63")
	}
	if n := len(value.Reveal()); n == 0 || n > MaxBytes {
		return Stored{}, invalid("secret "+name, fmt.Sprintf("the value has %d bytes; 1 to %d are allowed", n, MaxBytes), "give the value on standard input, or name a file with --file")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ring, err := v.ring()
	if err != nil {
		return Stored{}, err
	}
	var out Stored
	if len(ring.keys) == 0 {
		if ring, err = v.makeKey(); err != nil {
			return Stored{}, err
		}
		out.MadeKey = v.keyFile()
	}
	s, err := v.o.Store.PutSecret(ctx, actor, name, func(s *store.Secret) error { return v.seal(s, ring.keys[0], value) })
	if err != nil {
		return Stored{}, fmt.Errorf("storing secret %s: %w", name, err)
	}
	out.Info = ring.info(s)
	return out, nil
}

// List lists the secrets by name.
func (v *Vault) List(ctx context.Context) ([]Info, error) {
	ring, err := v.ring()
	if err != nil {
		return nil, err
	}
	list, err := v.o.Store.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Info, len(list))
	for i, s := range list {
		out[i] = ring.info(s)
	}
	return out, nil
}

// Remove forgets a secret; what refers to it fails from then on.
func (v *Vault) Remove(ctx context.Context, actor, name string) error {
	ok, err := v.o.Store.RemoveSecret(ctx, actor, name)
	if err == nil && !ok {
		return store.NoSecret(name)
	}
	return err
}

// Reveal returns a secret's value.
func (v *Vault) Reveal(ctx context.Context, name string) (secret.Secret, error) {
	s, err := v.o.Store.Secret(ctx, name)
	if err != nil {
		return secret.Secret{}, err
	}
	ring, err := v.ring()
	if err != nil {
		return secret.Secret{}, err
	}
	own, err := v.unwrap(s, ring)
	if err != nil {
		return secret.Secret{}, err
	}
	value, err := aead(own).Open(nil, nil, s.Sealed, v.names("value", s))
	if err != nil {
		return secret.Secret{}, damaged(s)
	}
	return secret.New(string(value)), nil
}

// Rotate encrypts all secrets by the ring's first key. Where the key is the hub's own, it makes
// a new one first and forgets the old ones afterwards.
func (v *Vault) Rotate(ctx context.Context, actor string) (Rotated, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ring, err := v.ring()
	if err != nil {
		return Rotated{}, err
	}
	if err := v.readable(ctx, ring); err != nil { // before a key is made
		return Rotated{}, err
	}
	if !ring.foreign && len(ring.keys) > 0 {
		if ring.keys, err = v.prependKey(ring.keys); err != nil {
			return Rotated{}, err
		}
	}
	if len(ring.keys) == 0 {
		if ring, err = v.makeKey(); err != nil {
			return Rotated{}, err
		}
	}
	first := ring.keys[0]
	n, err := v.o.Store.RewrapSecrets(ctx, actor, func(s *store.Secret) error {
		if s.KeyID == first.id {
			return nil
		}
		own, err := v.unwrap(*s, ring)
		if err != nil {
			return err
		}
		v.wrap(s, first, own)
		return nil
	})
	if err != nil {
		return Rotated{}, fmt.Errorf("encrypting the secrets by the key %s: %w", first.id, err)
	}
	if !ring.foreign {
		if err := v.writeKeys(ring.keys[:1]); err != nil {
			return Rotated{}, err
		}
	}
	return Rotated{Key: first.id, Rewrapped: n, From: ring.from}, nil
}

// readable returns why some secret cannot be read, nil when all can.
func (v *Vault) readable(ctx context.Context, ring keyring) error {
	list, err := v.o.Store.Secrets(ctx)
	if err != nil {
		return err
	}
	for _, s := range list {
		if _, err := v.unwrap(s, ring); err != nil {
			return err
		}
	}
	return nil
}

// seal fills the ciphertext of s.
func (v *Vault) seal(s *store.Secret, by key, value secret.Secret) error {
	own := make([]byte, keyBytes)
	_, _ = rand.Read(own) // never errs
	s.Sealed = aead(own).Seal(nil, nil, []byte(value.Reveal()), v.names("value", *s))
	v.wrap(s, by, own)
	return nil
}

func (v *Vault) wrap(s *store.Secret, by key, own []byte) {
	s.KeyID = by.id
	s.Wrapped = aead(by.bytes).Seal(nil, nil, own, v.names("key", *s))
}

// unwrap returns the own key of s.
func (v *Vault) unwrap(s store.Secret, ring keyring) ([]byte, error) {
	by, ok := ring.find(s.KeyID)
	if !ok {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "secret.key_lost", Subject: "secret " + s.Name,
			Message: fmt.Sprintf("it is encrypted by the key %s, which this hub does not have (%s)", s.KeyID, ring.has()),
			Hint:    fmt.Sprintf("put that key back (%s), or set the secret anew: tidegate secrets set %s", v.places(), s.Name),
		}
	}
	own, err := aead(by.bytes).Open(nil, nil, s.Wrapped, v.names("key", s))
	if err != nil || len(own) != keyBytes {
		return nil, damaged(s)
	}
	return own, nil
}

// names binds ciphertext to the row that it stands in.
func (v *Vault) names(what string, s store.Secret) []byte {
	return fmt.Appendf(nil, "tidegate %s %q %q %d", what, v.o.Store.ID(), s.Name, s.Version)
}

// aead is AES-256-GCM with a random nonce before the ciphertext.
func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var sealed cipher.AEAD
		if sealed, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return sealed
		}
	}
	panic("vault: " + err.Error()) // every key has keyBytes
}

func damaged(s store.Secret) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "secret.damaged", Subject: "secret " + s.Name, Message: "what the store holds of it was changed by something other than tidegate",
		Hint: "set it anew: tidegate secrets set " + s.Name,
	}
}

func invalid(subject, message, hint string) error {
	return &tidegate.Fault{Action: tidegate.Halt, Code: "secret.invalid", Subject: subject, Message: message, Hint: hint}
}

// Reference is how definitions refer to the secret called name.
func Reference(name string) string { return "${secret:" + name + "}" }

// Uses says whether a definition's text refers to the secret called name.
func Uses(text []byte, name string) bool { return strings.Contains(string(text), Reference(name)) }

var references = regexp.MustCompile(`\$\{secret:([^}]*)\}`)

// References lists the secrets that a definition's text refers to.
func References(text []byte) []string {
	var names []string
	for _, m := range references.FindAllSubmatch(text, -1) {
		if name := string(m[1]); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// ValidName says whether name can be a secret's.
func ValidName(name string) bool { return namePattern.MatchString(name) }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
