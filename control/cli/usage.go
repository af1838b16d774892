package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tidegate/tidegate/internal/config"
)

// wrapUsage gives wrong arguments, and counts that are none, the exit code of wrong flags.
func wrapUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(errors.New(misplaced(cmd, args, err) + "; see `" + cmd.CommandPath() + " --help`"))
			}
			if err := noNegative(cmd); err != nil {
				return usage(errors.New(err.Error() + "; see `" + cmd.CommandPath() + " --help`"))
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapUsage(sub)
	}
}

// noNegative refuses a count below zero, which servers and engines read in ways of their own.
func noNegative(cmd *cobra.Command) error {
	for _, name := range []string{"limit", "sample"} {
		if f := cmd.Flags().Lookup(name); f != nil && strings.HasPrefix(f.Value.String(), "-") {
			return fmt.Errorf("--%s %s is negative", name, f.Value)
		}
	}
	return nil
}

// typed is a command as it is typed, without its flags.
func typed(cmd *cobra.Command) string {
	return strings.Replace(cmd.UseLine(), " [flags]", "", 1)
}

// arguments are the names of what a command takes behind it.
func arguments(cmd *cobra.Command) []string {
	var names []string
	words := strings.Fields(cmd.Use)[1:]
	for i, word := range words {
		if word == "<" {
			break
		}
		if i > 0 && strings.HasPrefix(words[i-1], "--") && words[i-1] != "--" || strings.HasPrefix(word, "-") || word == "[flags]" {
			continue
		}
		names = append(names, word)
	}
	return names
}

// misplaced says what is meant where the arguments of cmd are too many, too few or none of
// its commands; err is what was found wrong with them.
func misplaced(cmd *cobra.Command, args []string, err error) string {
	takes := arguments(cmd)
	_, holds := cmd.Annotations[isGroup]
	switch {
	case holds || !cmd.HasParent():
		return fmt.Sprintf("there is no command %q in `%s`", args[0], cmd.CommandPath()) + meant(args[0], commandsOf(cmd))
	case len(args) < len(takes):
		return fmt.Sprintf("%s is missing: it is `%s`", takes[len(args)], typed(cmd))
	case len(args) == len(takes): // there are as many as it takes, but one is wrong
		return err.Error() + meant(args[len(args)-1], cmd.ValidArgs)
	case slices.Contains(takes, "SQL"):
		return fmt.Sprintf("%d arguments are given, one is taken: put the statement into quotes", len(args))
	}
	surplus := args[len(takes)]
	if sub := config.Suggest(surplus, commandsOf(cmd)); sub != "" {
		return fmt.Sprintf("there is no command %q in `%s`: did you mean %q?", surplus, cmd.CommandPath(), sub)
	}
	ways := waysToName(cmd, surplus)
	if len(ways) == 0 {
		return fmt.Sprintf("%q is one argument too many: it is `%s`", surplus, typed(cmd))
	}
	return fmt.Sprintf("%q is one argument too many: write `%s`", surplus, strings.Join(ways, "` or `"))
}

func commandsOf(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	return names
}

// meant is a question to stand at the end, or nothing.
func meant(word string, known []string) string {
	if hint := config.DidYouMean(word, known); hint != "" {
		return ": " + hint
	}
	return ""
}

// waysToName are the flags of cmd, or the command beside it, that take what somebody wrote as an argument.
func waysToName(cmd *cobra.Command, arg string) []string {
	info, err := os.Stat(arg)
	isDir := err == nil && info.IsDir()
	isFile := err == nil && !isDir || strings.HasPrefix(filepath.Ext(arg), ".json") || filepath.Ext(arg) == ".ndjson"
	var ways []string
	add := func(flags ...string) {
		for _, name := range flags {
			if cmd.Flags().Lookup(name) != nil {
				ways = append(ways, "--"+name+" "+arg)
			}
		}
	}
	switch {
	case isFile:
		add("events", "file")
		if strings.Contains(cmd.Use, " < ") {
			ways = append(ways, strings.Replace(typed(cmd), "EVENT.json", arg, 1))
		}
	case isDir && cmd.Flags().Lookup("dir") == nil:
		add("project")
	}
	if len(ways) == 0 {
		if add("user-id"); len(ways) == 0 {
			add("plan", "source", "dbt", "dir", "run")
		}
	}
	if len(ways) > 0 || len(arguments(cmd)) > 0 {
		return ways
	}
	for _, beside := range cmd.Parent().Commands() {
		if takes := arguments(beside); beside != cmd && slices.Contains([]string{"status", "show", "receipt"}, beside.Name()) && len(takes) == 1 {
			ways = append(ways, beside.CommandPath()+" "+arg)
		}
	}
	return ways
}

// wrongFlag says what is meant by a flag that cmd has not.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	text, name := err.Error(), unknown.GetSpecifiedName()
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
	takes := arguments(cmd)
	names := len(takes) > 0 && (name == "name" || name == "id" || name == cmd.Parent().Name() || strings.Contains(takes[0], strings.ToUpper(name)))
	if like := config.Suggest(name, flags); like != "" && !names && unknown.GetSpecifiedShortnames() == "" {
		text += ": did you mean --" + like + "?"
	} else if len(takes) > 0 {
		text += ": it is `" + typed(cmd) + "`"
	}
	return errors.New(text + "; see `" + cmd.CommandPath() + " --help`")
}
