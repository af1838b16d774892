package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/secret"
)

// place is a data folder with its store and its environment.
type place struct {
	t     *testing.T
	dir   string
	store *store.Workspace
	env   map[string]string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "control.db"), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &place{t: t, dir: dir, store: s.In("default"), env: map[string]string{}}
}

func (p *place) vault() *vault.Vault {
	return vault.New(vault.Options{Store: p.store, Data: p.dir, Env: func(name string) (string, bool) { v, ok := p.env[name]; return v, ok }})
}

func (p *place) set(name, value string) vault.Stored {
	p.t.Helper()
	s, err := p.vault().Set(p.t.Context(), "ada", name, secret.New(value))
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// holds checks that the secret can be read and is want.
func (p *place) holds(name, want string) {
	p.t.Helper()
	if got, err := p.vault().Reveal(p.t.Context(), name); err != nil || got.Reveal() != want {
		p.t.Errorf("%s is not what was set: %v", name, err)
	}
}

// fails checks the code of what Reveal says.
func (p *place) fails(name, code string) *tidegate.Fault {
	p.t.Helper()
	got, err := p.vault().Reveal(p.t.Context(), name)
	f := tidegate.FaultOf(err)
	if err == nil || f.Code != code || f.Hint == "" || !got.Empty() {
		p.t.Fatalf("%s: %v, want %s", name, err, code)
	}
	return f
}

func (p *place) keyFile() string { return filepath.Join(p.dir, vault.KeyFile) }

func randomKey(seed byte) string {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = seed + byte(7*i)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestSecretsAreKeptAsCiphertext(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	first := p.set("CRM", "pat-hunter2-hunter2")
	if first.MadeKey != p.keyFile() || first.Version != 1 || first.SetBy != "ada" || first.Lost {
		t.Errorf("%+v", first)
	}
	if info, err := os.Stat(p.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	if again := p.set("CRM", "pat-hunter3-hunter3"); again.Version != 2 || again.MadeKey != "" {
		t.Errorf("%+v", again)
	}
	p.holds("CRM", "pat-hunter3-hunter3")
	p.set("Other", "hunter4-hunter4")
	list, err := p.vault().List(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "CRM" || list[1].Key != first.Key {
		t.Errorf("%+v, %v", list, err)
	}
	files, err := filepath.Glob(filepath.Join(p.dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || bytes.Contains(text, []byte("hunter")) {
			t.Errorf("%s holds a secret (%v)", f, err)
		}
	}
	if err := p.vault().Remove(t.Context(), "ada", "CRM"); err != nil {
		t.Fatal(err)
	}
	if f := p.fails("CRM", "secret.not_found"); f.Hint != "run: tidegate secrets set CRM" {
		t.Error(f.Hint)
	}
	if err := p.vault().Remove(t.Context(), "ada", "CRM"); tidegate.FaultOf(err).Code != "secret.not_found" {
		t.Error(err)
	}
	audit, err := p.store.AuditLog(t.Context(), 0, 10)
	if err != nil || len(audit) != 4 || audit[3].Action != "secret.remove" || audit[3].Object != "CRM" {
		t.Errorf("%+v, %v", audit, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for name, value := range map[string]string{"": "x", "a b": "x", "1a": "x", strings.Repeat("a", 64): "x", "empty": "", "long": strings.Repeat("x", vault.MaxBytes+1)} {
		if _, err := p.vault().Set(t.Context(), "ada", name, secret.New(value)); tidegate.FaultOf(err).Code != "secret.invalid" {
			t.Errorf("%q: %v", name, err)
		}
	}
	p.set("long", strings.Repeat("x", vault.MaxBytes))
	for name, key := range map[string]string{"short": "aGVsbG8=", "not base64": "§", "known": base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		p.env[vault.KeyVariable] = key
		if f := p.fails("long", "secret.key_invalid"); strings.Contains(f.Error(), key) {
			t.Errorf("%s: the fault shows the key", name)
		}
	}
	delete(p.env, vault.KeyVariable)
	p.env[vault.KeyFileVariable] = filepath.Join(p.dir, "nowhere")
	p.fails("long", "secret.key_unreadable")
	delete(p.env, vault.KeyFileVariable)
	if err := os.Chmod(p.keyFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	p.fails("long", "secret.file_open")
}

func TestRotation(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	old := p.set("A", "value of a").Key
	p.set("B", "value of b")
	before, err := os.ReadFile(p.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	done, err := p.vault().Rotate(t.Context(), "ada")
	if err != nil || done.Rewrapped != 2 || done.Key == old {
		t.Fatalf("%+v, %v", done, err)
	}
	p.holds("A", "value of a")
	p.holds("B", "value of b")
	after, err := os.ReadFile(p.keyFile())
	if err != nil || bytes.Contains(after, bytes.TrimSpace(before)) || bytes.Count(after, []byte("\n")) != 1 {
		t.Errorf("the old key is still there: %v", err)
	}

	// A key from elsewhere takes over; the hub's own one still decrypts until then.
	p.env[vault.KeyVariable] = randomKey(1)
	p.holds("A", "value of a")
	c := p.set("C", "value of c")
	if c.Key == done.Key {
		t.Error("a new secret is encrypted by the old key")
	}
	if moved, err := p.vault().Rotate(t.Context(), "ada"); err != nil || moved.Rewrapped != 2 || moved.Key != c.Key {
		t.Fatalf("%+v, %v", moved, err)
	}
	if err := os.Remove(p.keyFile()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "value of a", "B": "value of b", "C": "value of c"} {
		p.holds(name, want)
	}

	// And is replaced by another one beside it.
	p.env[vault.KeyVariable] = randomKey(2) + "," + randomKey(1)
	if moved, err := p.vault().Rotate(t.Context(), "ada"); err != nil || moved.Rewrapped != 3 {
		t.Fatalf("%+v, %v", moved, err)
	}
	p.env[vault.KeyVariable] = randomKey(2)
	p.holds("B", "value of b")
}

// TestRotationCutShort: whatever was done when the process died, everything can be read, and the next one ends it.
func TestRotationCutShort(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.set("A", "value of a")
	old, err := os.ReadFile(p.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.vault().Rotate(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(p.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	another := newPlace(t).set("x", "y").MadeKey
	fresh, err := os.ReadFile(another)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"the old key was not dropped yet":       append(bytes.Clone(now), old...),
		"the new key was written, and not used": append(bytes.Clone(fresh), now...),
	} {
		if err := os.WriteFile(p.keyFile(), text, 0o600); err != nil {
			t.Fatal(err)
		}
		p.holds("A", "value of a")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if done, err := p.vault().Rotate(t.Context(), "ada"); err != nil || done.Rewrapped != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	p.holds("A", "value of a")
}

// TestLostKey: what cannot be read says which key it wants, and can be set anew.
func TestLostKey(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	key := p.set("A", "value of a").Key
	p.set("B", "value of b")
	kept := p.keyFile() + ".kept"
	if err := os.Rename(p.keyFile(), kept); err != nil {
		t.Fatal(err)
	}
	if f := p.fails("A", "secret.key_lost"); !strings.Contains(f.Message, key) || !strings.Contains(f.Message, "no key at all") || !strings.Contains(f.Hint, p.keyFile()) || !strings.Contains(f.Hint, "tidegate secrets set A") {
		t.Errorf("%s (%s)", f, f.Hint)
	}
	if _, err := p.vault().Rotate(t.Context(), "ada"); tidegate.FaultOf(err).Code != "secret.key_lost" {
		t.Errorf("rotating without any key: %v", err)
	}
	if _, err := os.Stat(p.keyFile()); err == nil {
		t.Error("a rotation that cannot be done has made a key")
	}
	if anew := p.set("A", "another value"); anew.MadeKey == "" || anew.Key == key {
		t.Errorf("%+v", anew)
	}
	p.holds("A", "another value")
	p.fails("B", "secret.key_lost")
	list, err := p.vault().List(t.Context())
	if err != nil || len(list) != 2 || list[0].Lost || !list[1].Lost {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := p.vault().Rotate(t.Context(), "ada"); tidegate.FaultOf(err).Code != "secret.key_lost" {
		t.Errorf("rotating over a lost key: %v", err)
	}
	p.holds("A", "another value")
	text, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	p.env[vault.KeyFileVariable] = filepath.Join(p.dir, "found")
	if err := os.WriteFile(p.env[vault.KeyFileVariable], text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.holds("B", "value of b")
}

// TestRowsDoNotStandInForEachOther: ciphertext is of one name and version, and is not changed unseen.
func TestRowsDoNotStandInForEachOther(t *testing.T) {
	t.Parallel()
	at := newPlace(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := &swapped{Store: at.store, place: at}
		a, b := rapid.StringN(1, 50, 200).Draw(rt, "a"), rapid.StringN(1, 50, 200).Draw(rt, "b")
		p.set("A", a)
		p.set("B", b)
		v := vault.New(vault.Options{Store: p, Data: p.dir, Env: func(string) (string, bool) { return "", false }})
		for _, spoil := range []func(s *store.Secret, other store.Secret){
			func(s *store.Secret, other store.Secret) { s.Sealed = other.Sealed },
			func(s *store.Secret, other store.Secret) { s.Wrapped = other.Wrapped },
			func(s *store.Secret, other store.Secret) { s.Wrapped, s.Sealed = other.Wrapped, other.Sealed },
			func(s *store.Secret, _ store.Secret) { s.Version++ },
			func(s *store.Secret, _ store.Secret) {
				s.Sealed[rapid.IntRange(0, len(s.Sealed)-1).Draw(rt, "at")] ^= 1
			},
			func(s *store.Secret, _ store.Secret) {
				s.Wrapped = s.Wrapped[:rapid.IntRange(0, len(s.Wrapped)-1).Draw(rt, "cut")]
			},
		} {
			p.spoil = spoil
			if got, err := v.Reveal(t.Context(), "A"); tidegate.FaultOf(err).Code != "secret.damaged" || !got.Empty() {
				rt.Fatalf("%v", err)
			}
		}
		p.spoil = nil
		if got, err := v.Reveal(t.Context(), "A"); err != nil || got.Reveal() != a {
			rt.Fatal(err)
		}
	})
}

// swapped is a store whose rows somebody changed.
type swapped struct {
	vault.Store
	*place
	spoil func(s *store.Secret, other store.Secret)
}

func (p *swapped) Secret(ctx context.Context, name string) (store.Secret, error) {
	s, err := p.store.Secret(ctx, name)
	if err != nil || p.spoil == nil {
		return s, err
	}
	other, err := p.store.Secret(ctx, "B")
	p.spoil(&s, other)
	return s, err
}
