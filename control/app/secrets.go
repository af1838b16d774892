package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/config"
)

// secretPatience bounds one look at the store by who has no context of its own.
const secretPatience = 10 * time.Second

// secrets resolves references at the moment something is opened, so that one that was
// replaced needs no restart. There are two: of a hub, over its open store, and of a command
// without a hub, which opens the store of its data folder when the first `${secret:}` is met.
type secrets struct {
	reveal func(ctx context.Context, name string) (string, error)
}

func hubSecrets(v *vault.Vault) secrets {
	return secrets{func(ctx context.Context, name string) (string, error) {
		value, err := v.Reveal(ctx, name)
		return value.Reveal(), err
	}}
}

func newVault(w *store.Workspace, data string) *vault.Vault {
	return vault.New(vault.Options{Store: w, Data: data, Env: os.LookupEnv})
}

// fileSecrets are those of a data folder that no hub of this process has open.
func fileSecrets(data string, now func() time.Time) secrets {
	return secrets{func(ctx context.Context, name string) (value string, err error) {
		if _, err := os.Stat(filepath.Join(data, storeFile)); errors.Is(err, fs.ErrNotExist) {
			return "", store.NoSecret(name)
		}
		err = WithSecrets(ctx, data, now, func(v *vault.Vault) error {
			found, err := v.Reveal(ctx, name)
			value = found.Reveal()
			return err
		})
		return value, err
	}}
}

// WithSecrets calls use with the secrets of a data folder that no server uses; the folder and
// its store are made when they are missing.
func WithSecrets(ctx context.Context, data string, now func() time.Time, use func(*vault.Vault) error) error {
	if err := makeData(data); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Options{Path: filepath.Join(data, storeFile), Log: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		return err
	}
	return errors.Join(use(newVault(s.In(tidegate.DefaultWorkspace), data)), s.Close())
}

func (s secrets) lookup(ctx context.Context) config.Lookup {
	return config.LookupFrom(os.LookupEnv, os.ReadFile, func(name string) (string, error) { return s.reveal(ctx, name) })
}

// fill replaces the references in the secret fields of into.
func (s secrets) fill(ctx context.Context, into any) error {
	return config.Resolve(into, s.lookup(ctx), nil)
}

// fillNoting is fill, and returns a digest of what the references led to.
func (s secrets) fillNoting(ctx context.Context, into any) (string, error) {
	sum := sha256.New()
	find := s.lookup(ctx)
	err := config.Resolve(into, func(scheme, name string) (string, error) {
		value, err := find(scheme, name)
		_, _ = fmt.Fprintf(sum, "%d:%s", len(value), value) // a hash never errs
		return value, err
	}, nil)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// resolve resolves one reference for who is asked without a context.
func (s secrets) resolve(reference string) (string, error) {
	if !strings.Contains(reference, "${") {
		return reference, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), secretPatience)
	defer cancel()
	v := struct {
		Secret string `json:"secret" secret:"true"`
	}{reference}
	err := s.fill(ctx, &v)
	return v.Secret, err
}

// checkSecrets says which secrets are missing, cannot be read, or are of no use.
func (h *Hub) checkSecrets(ctx context.Context) []api.Finding {
	list, err := h.vault.List(ctx)
	if err != nil {
		f := tidegate.FaultOf(err)
		return []api.Finding{{Check: "secrets", Level: "error", Detail: f.Error(), Hint: f.Hint}}
	}
	defs, _, err := h.runs.In(tidegate.DefaultWorkspace).Definitions(ctx)
	if err != nil {
		f := tidegate.FaultOf(err)
		return []api.Finding{{Check: "secrets", Level: "error", Detail: f.Error(), Hint: f.Hint}}
	}
	have := map[string]bool{}
	var out []api.Finding
	for _, s := range list {
		have[s.Name] = true
		used := slices.ContainsFunc(defs, func(d store.Definition) bool { return vault.Uses(d.Body, s.Name) })
		switch {
		case s.Lost && used:
			out = append(out, api.Finding{Check: "secret " + s.Name, Level: "error", Detail: "its key " + s.Key + " is lost", Hint: "put the key back, or set the secret anew: tidegate secrets set " + s.Name})
		case !used:
			out = append(out, api.Finding{Check: "secret " + s.Name, Level: "warning", Detail: "no definition refers to it", Hint: "write ${secret:" + s.Name + "} where it belongs, or run: tidegate secrets remove " + s.Name})
		}
	}
	for _, d := range defs {
		for _, name := range vault.References(d.Body) {
			if !have[name] {
				out = append(out, api.Finding{Check: "secret " + name, Level: "error", Detail: d.Kind + " " + d.Name + " refers to it, and the store does not have it", Hint: "run: tidegate secrets set " + name})
			}
		}
	}
	if len(list) > 0 && len(out) == 0 {
		out = append(out, api.Finding{Check: "secrets", Level: "ok", Detail: "every secret of the store can be read and is used"})
	}
	return out
}
