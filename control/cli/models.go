package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

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
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "preview NAME", Short: "Show a model's first rows, how many there are and what reading them costs", Args: cobra.ExactArgs(1),
		Long: "Preview shows a model's first rows, how many there are and what reading them costs. Counting reads the whole model: Ctrl-C, or the end of --timeout, stops it in the warehouse too.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			p, err := c.preview(ctx, client, args[0], limit, timeout)
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
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long the warehouse may take; 0 is no limit")
	return cmd
}

// preview asks for a preview, and says on a terminal what is waited for.
func (c *command) preview(ctx context.Context, client *api.Client, name string, limit int, timeout time.Duration) (api.ModelPreview, error) {
	waiting := fmt.Sprintf("The warehouse is reading model %s and counting its rows; Ctrl-C stops it there too", name)
	asking := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
		waiting += fmt.Sprintf(", and --timeout after %v", timeout)
	}
	if isTerminal(c.env.Stderr) {
		defer sayAfter(patience, c.env.Stderr, waiting+".")()
	}
	p, err := client.PreviewModel(asking, name, limit)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return p, &tidegate.Fault{
			Action: tidegate.Halt, Code: "model.timeout", Subject: "model " + name, Message: fmt.Sprintf("the warehouse had not read and counted it within %v; it was told to stop", timeout),
			Hint: "give it longer (--timeout 30m), or look why its query is slow: a run reads all of it too", Err: err,
		}
	}
	return p, err
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
