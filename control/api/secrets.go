package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/auth"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/secret"
)

func (s *server) secretRoutes() []route {
	return []route{
		do("GET", "/v1/secrets", "listSecrets", auth.Read, "The secrets of the store by name; no answer holds a value", s.listSecrets),
		do("PUT", "/v1/secrets/{name}", "setSecret", auth.Admin, "Sets or replaces a secret; what runs takes it up at once", s.setSecret),
		do("DELETE", "/v1/secrets/{name}", "removeSecret", auth.Admin, "Forgets a secret", s.removeSecret),
		do("POST", "/v1/secrets/rotate", "rotateSecrets", auth.Admin, "Encrypts every secret by a new key", s.rotateSecrets),
	}
}

// NewSecret is the value of a secret. It is write-only.
type NewSecret struct {
	Value string `json:"value" minLength:"1" maxLength:"65536" writeOnly:"true"`
}

func (s *server) listSecrets(ctx context.Context, _ *nothing) (*body[list[vault.Info]], error) {
	found, err := s.o.Vault.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].UsedBy, err = s.secretUsers(ctx, found[i].Name); err != nil {
			return nil, err
		}
	}
	return answerList(found, nil)
}

// secretUsers are the definitions that refer to a secret.
func (s *server) secretUsers(ctx context.Context, name string) ([]string, error) {
	defs, err := s.o.Catalog.Definitions(ctx, "")
	if err != nil {
		return nil, err
	}
	var users []string
	for _, d := range defs {
		if vault.Uses(d.Body, name) {
			users = append(users, strings.TrimSpace(d.Kind+" "+d.Name))
		}
	}
	return users, nil
}

func (s *server) setSecret(ctx context.Context, in *struct {
	Name string `path:"name"`
	Body NewSecret
},
) (*body[vault.Stored], error) {
	stored, err := s.o.Vault.Set(ctx, who(ctx).Name, in.Name, secret.New(in.Body.Value))
	if err != nil {
		return nil, err
	}
	if stored.UsedBy, err = s.secretUsers(ctx, in.Name); err != nil {
		return nil, err
	}
	if len(stored.UsedBy) > 0 {
		if _, err := s.o.Catalog.Start(ctx); err != nil { // the secret is stored all the same
			stored.Problem = tidegate.FaultOf(err).Error()
		}
	}
	return answer(stored, nil)
}

func (s *server) removeSecret(ctx context.Context, in *struct {
	Name  string `path:"name"`
	Force bool   `query:"force" doc:"Also when definitions refer to it."`
},
) (*struct{}, error) {
	users, err := s.secretUsers(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 && !in.Force {
		return nil, &tidegate.Fault{
			Action: tidegate.Halt, Code: "secret.conflict", Subject: "secret " + in.Name, Message: "it is used by " + strings.Join(users, ", "),
			Hint: "take the reference out of them first, or run: tidegate secrets remove " + in.Name + " --force",
		}
	}
	return nil, s.o.Vault.Remove(ctx, who(ctx).Name, in.Name)
}

func (s *server) rotateSecrets(ctx context.Context, _ *nothing) (*body[vault.Rotated], error) {
	return answer(s.o.Vault.Rotate(ctx, who(ctx).Name))
}

// Secrets lists the secrets of the store, without their values.
func (c *Client) Secrets(ctx context.Context) ([]vault.Info, error) {
	return items(get[list[vault.Info]](ctx, c, "/v1/secrets", nil))
}

// SetSecret sets or replaces one.
func (c *Client) SetSecret(ctx context.Context, name string, value secret.Secret) (out vault.Stored, err error) {
	err = c.call(ctx, http.MethodPut, "/v1/secrets/"+url.PathEscape(name), nil, nil, NewSecret{Value: value.Reveal()}, &out)
	return out, err
}

// RemoveSecret forgets one, when nothing refers to it or it is forced.
func (c *Client) RemoveSecret(ctx context.Context, name string, force bool) error {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	return c.call(ctx, http.MethodDelete, "/v1/secrets/"+url.PathEscape(name), q, nil, nil, nil)
}

// RotateSecrets encrypts every secret by a new key.
func (c *Client) RotateSecrets(ctx context.Context) (vault.Rotated, error) {
	return post[vault.Rotated](ctx, c, "/v1/secrets/rotate", nil, nil)
}
