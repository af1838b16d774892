package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/catalog"
	"github.com/tidegate/tidegate/control/project"
	"github.com/tidegate/tidegate/internal/config"
)

func (c *command) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check [DIR]", Short: "Check a project folder, without a server", Args: cobra.MaximumNArgs(1),
		Long: "Check reads a project folder and reports every problem with its place and its mend. It connects to nothing.",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := c.loadProject(args)
			var invalid *config.Error
			if c.json && errors.As(err, &invalid) {
				if err := c.printJSON(checked{Valid: false, Problems: invalid.Problems}); err != nil {
					return err
				}
				return &codedError{code: ExitInvalid}
			}
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(checked{Valid: true, Problems: []config.Problem{}})
			}
			c.say("The project is valid: %s.", contents(p))
			return nil
		},
	}
}

type checked struct {
	Valid    bool             `json:"valid"`
	Problems []config.Problem `json:"problems"`
}

func (c *command) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan [DIR]", Short: "Show what applying a project folder would change on the server", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.loadProject(args)
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			plan, err := client.PlanProject(cmd.Context(), p)
			if err != nil {
				return err
			}
			return c.showPlan(plan)
		},
	}
	cmd.AddCommand(c.codegenCommand())
	return cmd
}

func (c *command) applyCommand() *cobra.Command {
	base := catalog.AnyBase
	cmd := &cobra.Command{
		Use: "apply [DIR]", Short: "Make the server run the definitions of a project folder", Args: cobra.MaximumNArgs(1),
		Long: "Apply replaces the server's definitions by those of the folder: what the folder lacks is deleted on the server. Deleting a source or a sync deletes no rows.",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.loadProject(args)
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			plan, err := client.ApplyProject(cmd.Context(), p, base)
			if err != nil {
				return err
			}
			return c.showPlan(plan)
		},
	}
	cmd.Flags().Int64Var(&base, "base", catalog.AnyBase, "apply only when the server is at this revision, as 'tidegate plan' showed it; -1 is any")
	return cmd
}

func (c *command) showPlan(plan catalog.Plan) error {
	if c.json {
		return c.printJSON(plan)
	}
	marks := map[string]string{"created": "+", "updated": "~", "deleted": "-"}
	for _, ch := range plan.Changes {
		c.say("%s %s %s", marks[ch.Op], ch.Kind, ch.Name)
		for _, f := range ch.Fields {
			c.say("    %s: %s → %s", f.Path, oneLine(string(f.Before)), oneLine(string(f.After)))
		}
	}
	switch {
	case len(plan.Changes) == 0:
		c.say("Nothing changes; the server is at revision %d.", plan.Base)
	case plan.Revision > 0:
		c.say("Applied as revision %d.", plan.Revision)
	default:
		c.say("%s on revision %d.", plural(int64(len(plan.Changes)), "change"), plan.Base)
	}
	return nil
}

func (c *command) exportCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "export", Short: "Print the server's definitions, or write them as a project folder", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := client.Project(cmd.Context())
			if err != nil {
				return err
			}
			if dir != "" {
				return c.writeFolder(dir, &p)
			}
			if c.json {
				return c.printJSON(p)
			}
			text, err := toYAML(p)
			if err != nil {
				return err
			}
			_, err = c.env.Stdout.Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write a project folder instead; the folder must not hold a project yet")
	return cmd
}

// writeFolder writes models as .sql files and the rest into tidegate.yaml.
func (c *command) writeFolder(dir string, p *project.Project) error {
	if _, err := os.Stat(filepath.Join(dir, project.File)); err == nil {
		return usage(fmt.Errorf("%s holds a project already", dir))
	}
	files, inline := map[string][]byte{}, p.Models[:0:0]
	for _, m := range p.Models {
		if m.SQL == "" {
			inline = append(inline, m)
			continue
		}
		text := m.SQL
		if !strings.HasPrefix(text, "-- primary_key:") {
			text = "-- primary_key: " + strings.Join(m.PrimaryKey, ", ") + "\n" + text
		}
		files[filepath.Join("models", m.Name+".sql")] = []byte(text)
	}
	rest := *p
	rest.Models = inline
	text, err := toYAML(rest)
	if err != nil {
		return err
	}
	files[project.File] = text
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return fmt.Errorf("writing the project: %w", err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return fmt.Errorf("writing the project: %w", err)
		}
	}
	if c.json {
		return c.printJSON(map[string]string{"dir": dir})
	}
	c.say("Wrote %s to %s.", plural(int64(len(files)), "file"), dir)
	return nil
}

func toYAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the project: %w", err)
	}
	text, err := yaml.JSONToYAML(b)
	if err != nil {
		return nil, fmt.Errorf("encoding the project: %w", err)
	}
	return text, nil
}

// contents counts what a project has: always what every project is about, the rest where there is some.
func contents(p *project.Project) string {
	said := []string{
		plural(int64(len(p.Sources)), "source"), plural(int64(len(p.Destinations)), "destination"),
		plural(int64(len(p.Models)), "model"), plural(int64(len(p.Syncs)), "sync"),
	}
	for _, more := range []struct {
		n    int
		word string
	}{
		{len(p.Forwards), "forward"},
		{len(p.Plans), "tracking plan"},
		{len(p.Transforms), "transformation"},
		{len(p.Libraries), "library"},
		{len(p.Streams), "stream"},
		{len(p.Alerts), "alert"},
		{len(p.Dbt), "dbt project"},
	} {
		if more.n > 0 {
			said = append(said, plural(int64(more.n), more.word))
		}
	}
	return strings.Join(said, ", ")
}
