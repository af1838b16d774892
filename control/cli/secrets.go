package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/control/vault"
	"github.com/tidegate/tidegate/internal/secret"
)

// Secrets is what can be done about the secrets of the store. *api.Client satisfies it,
// and Local.Secrets while no server runs.
type Secrets interface {
	Secrets(ctx context.Context) ([]vault.Info, error)
	SetSecret(ctx context.Context, name string, value secret.Secret) (vault.Stored, error)
	// RemoveSecret refuses one that definitions refer to, unless forced.
	RemoveSecret(ctx context.Context, name string, force bool) error
	RotateSecrets(ctx context.Context) (vault.Rotated, error)
}

var _ Secrets = (*api.Client)(nil)

func (c *command) secretsCommand() *cobra.Command {
	cmd := group("secrets", "Keep passwords and tokens in the store, encrypted")
	cmd.Long = "Secrets of the store are named in definitions as ${secret:NAME}. They can be set and replaced, and never be shown. Without a running server the commands work on the data folder."
	cmd.AddCommand(c.secretsSetCommand(), c.secretsListCommand(), c.secretsRemoveCommand(), c.secretsRotateCommand())
	return cmd
}

// withSecrets calls use with those of the running server, or else of the data folder.
func (c *command) withSecrets(ctx context.Context, use func(Secrets) error) error {
	client, err := c.running(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		return use(client)
	}
	return c.env.Local.Secrets(ctx, c.data, use)
}

func (c *command) secretsSetCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Set or replace a secret; its value is read from standard input", Args: cobra.ExactArgs(1),
		Long: "Set reads the value from standard input, without showing it when that is a terminal, or from a file. One line end at its end is not part of it. What runs takes the new value up at once; a warehouse's password needs a restart.",
		Example: `  tidegate secrets set HUBSPOT_TOKEN
  pass show hubspot | tidegate secrets set HUBSPOT_TOKEN`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !vault.ValidName(args[0]) { // before somebody types a secret for nothing
				return usage(fmt.Errorf("%q cannot be the name of a secret: use letters, digits, _, . and -, a letter first, at most 63", args[0]))
			}
			value, err := c.readSecret(args[0], file)
			if err != nil {
				return err
			}
			return c.withSecrets(cmd.Context(), func(s Secrets) error {
				stored, err := s.SetSecret(cmd.Context(), args[0], value)
				if err != nil {
					return err
				}
				return c.saySet(stored)
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read the value from this file instead")
	return cmd
}

func (c *command) saySet(s vault.Stored) error {
	if c.json {
		return c.printJSON(s)
	}
	c.say("Set %s, version %d. Definitions refer to it as %s.", s.Name, s.Version, vault.Reference(s.Name))
	if s.MadeKey != "" {
		c.say("The key that encrypts it was made now: %s (readable by this user only).", s.MadeKey)
		c.say("Keep a copy of it apart from the backups of the data folder: without it no secret can be read, and with both everyone can read them.")
	}
	if s.Problem != "" {
		c.say("It is not in use everywhere yet: %s", s.Problem)
	}
	return nil
}

// readSecret reads a value, without its last line end.
func (c *command) readSecret(name, file string) (secret.Secret, error) {
	var text []byte
	var err error
	switch in, isFile := c.env.Stdin.(*os.File); {
	case file != "":
		text, err = readLimited(file)
	case isFile && term.IsTerminal(int(in.Fd())): //nolint:gosec // a descriptor is small
		_, _ = fmt.Fprintf(c.env.Stderr, "Value of %s: ", name)
		text, err = term.ReadPassword(int(in.Fd())) //nolint:gosec // as above
		_, _ = fmt.Fprintln(c.env.Stderr)
	default:
		text, err = io.ReadAll(io.LimitReader(c.env.Stdin, vault.MaxBytes+3))
	}
	if err != nil {
		return secret.Secret{}, fmt.Errorf("reading the value of secret %s: %w", name, err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return secret.Secret{}, &tidegate.Fault{Action: tidegate.Reject, Code: "secret.invalid", Subject: "secret " + name, Message: "the value is empty", Hint: "it is read from standard input, or from the file that --file names"}
	}
	return secret.New(value), nil
}

func readLimited(path string) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &tidegate.Fault{Action: tidegate.Reject, Code: "secret.unreadable", Subject: "file " + path, Message: err.Error(), Err: err}
	}
	text, err = io.ReadAll(io.LimitReader(f, vault.MaxBytes+3))
	return text, errors.Join(err, f.Close())
}

func (c *command) secretsListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the secrets by name, never their values", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withSecrets(cmd.Context(), func(s Secrets) error {
				list, err := s.Secrets(cmd.Context())
				if err != nil {
					return err
				}
				if c.json {
					return c.printJSON(list)
				}
				rows := make([][]string, len(list))
				for i, s := range list {
					key := s.Key
					if s.Lost {
						key += " (LOST)"
					}
					rows[i] = []string{s.Name, fmt.Sprint(s.Version), s.SetAt.UTC().Format(time.RFC3339), s.SetBy, key, strings.Join(s.UsedBy, ", ")}
				}
				return c.list("The store has no secrets; `tidegate secrets set NAME` keeps one.", []string{"SECRET", "VERSION", "SET", "BY", "KEY", "USED BY"}, rows)
			})
		},
	}
}

func (c *command) secretsRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Forget a secret", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withSecrets(cmd.Context(), func(s Secrets) error {
				if err := s.RemoveSecret(cmd.Context(), args[0], force); err != nil {
					return err
				}
				if c.json {
					return c.printJSON(map[string]string{"removed": args[0]})
				}
				c.say("Removed %s.", args[0])
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when definitions refer to it: they fail from then on")
	return cmd
}

func (c *command) secretsRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Encrypt every secret by a new key", Args: cobra.NoArgs,
		Long: "Rotate makes a new key in the data folder, encrypts every secret by it and forgets the old one. Where the key comes from " + vault.KeyVariable + " or " + vault.KeyFileVariable +
			", put the new key before the old one there, run rotate, then take the old one out.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withSecrets(cmd.Context(), func(s Secrets) error {
				done, err := s.RotateSecrets(cmd.Context())
				if err != nil {
					return err
				}
				if c.json {
					return c.printJSON(done)
				}
				c.say("Every secret is encrypted by the key %s from %s now; %s changed keys.", done.Key, done.From, plural(int64(done.Rewrapped), "secret"))
				return nil
			})
		},
	}
}
