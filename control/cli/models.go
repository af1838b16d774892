package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/api"
)

func (c *command) modelCommand() *cobra.Command {
	cmd := group("model", "Look at models")
	cmd.AddCommand(c.modelPreview())
	return cmd
}

func (c *command) modelPreview() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "preview NAME", Short: "Show a model's first rows, how many there are and what reading them costs", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			p, err := client.PreviewModel(ctx, args[0], limit)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(p)
			}
			return c.showPreview(p)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many rows to show")
	return cmd
}

func (c *command) showPreview(p api.ModelPreview) error {
	header := make([]string, len(p.Columns))
	for i, column := range p.Columns {
		header[i] = column.Name
	}
	rows := make([][]string, len(p.Rows))
	for i, row := range p.Rows {
		for _, v := range row {
			rows[i] = append(rows[i], valueText(v))
		}
	}
	if err := table(c.env.Stdout, header, rows); err != nil {
		return err
	}
	c.say("%s.", plural(p.Count, "row"))
	if p.EstimatedRows >= 0 {
		c.say("A run reads about %s.", plural(p.EstimatedRows, "row"))
	}
	if p.EstimatedBytes >= 0 {
		c.say("A run reads about %s.", plural(p.EstimatedBytes, "byte"))
	}
	return nil
}

func (c *command) syncSuggest() *cobra.Command {
	return &cobra.Command{
		Use: "suggest MODEL DESTINATION OBJECT", Short: "Print a sync that maps a model's columns to fields of like names", Args: cobra.ExactArgs(3),
		Long: "Suggest prints a sync as YAML, to be saved as syncs/NAME.yaml and corrected. Columns and fields are paired by their names alone.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			s, err := client.SuggestMapping(ctx, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(s)
			}
			text, err := suggestedSync(args[0], args[1], args[2], s)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.env.Stdout, text)
			return err
		}),
	}
}

// suggestedSync is a file for the folder syncs.
func suggestedSync(model, destination, object string, s api.SuggestedMapping) (string, error) {
	doc, err := json.Marshal(struct {
		Name        string           `json:"name"`
		Model       string           `json:"model"`
		Destination string           `json:"destination"`
		Object      string           `json:"object"`
		Mapping     tidegate.Mapping `json:"mapping"`
	}{model + "_to_" + destination, model, destination, object, s.Mapping})
	if err != nil {
		return "", fmt.Errorf("writing the suggestion: %w", err)
	}
	text, err := yaml.JSONToYAML(doc)
	if err != nil {
		return "", fmt.Errorf("writing the suggestion: %w", err)
	}
	var b strings.Builder
	b.Write(text)
	for _, rest := range []struct {
		what string
		list []string
	}{{"columns without a field", s.UnusedColumns}, {"fields without a column", s.OpenFields}} {
		if len(rest.list) > 0 {
			fmt.Fprintf(&b, "# %s: %s\n", rest.what, strings.Join(rest.list, ", "))
		}
	}
	return b.String(), nil
}
