package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/control/api"
	"github.com/tidegate/tidegate/ingest/privacy"
	"github.com/tidegate/tidegate/internal/retry"
)

func (c *command) privacyCommand() *cobra.Command {
	cmd := group("privacy", "Keep nothing of people, delete them, find personal data")
	cmd.AddCommand(c.suppressCommand(), c.unsuppressCommand(), c.suppressedCommand(), c.deleteCommand(), c.deletionsCommand(), c.receiptCommand(), c.scanCommand())
	return cmd
}

// peopleFlags name people.
type peopleFlags struct {
	users, devices []string
	file           string
	r              api.SuppressRequest
}

func (f *peopleFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.users, "user-id", nil, "a userId; may be repeated")
	cmd.Flags().StringSliceVar(&f.devices, "anonymous-id", nil, "an anonymousId; may be repeated")
	cmd.Flags().StringVar(&f.file, "file", "", "a file with a userId, or 'user_id,ID' or 'anonymous_id,ID', on each line")
	cmd.Flags().StringVar(&f.r.Source, "source", "", "in events of this source only")
	cmd.Flags().StringVar(&f.r.Reason, "reason", "", "why; it is kept with the entry")
}

// maxPeopleFile bounds the file that is read.
const maxPeopleFile = 64 << 20

func (f *peopleFlags) request() (api.SuppressRequest, error) {
	r := f.r
	for _, id := range f.users {
		r.People = append(r.People, privacy.Person{Kind: privacy.UserID, ID: id})
	}
	for _, id := range f.devices {
		r.People = append(r.People, privacy.Person{Kind: privacy.AnonymousID, ID: id})
	}
	if f.file != "" {
		info, err := os.Stat(f.file)
		if err != nil {
			return r, usage(fmt.Errorf("reading --file: %w", err))
		}
		if info.Size() > maxPeopleFile {
			return r, usage(fmt.Errorf("--file %s is larger than %d MiB", f.file, maxPeopleFile>>20))
		}
		text, err := os.ReadFile(f.file)
		if err != nil {
			return r, usage(fmt.Errorf("reading --file: %w", err))
		}
		people, err := privacy.ParsePeople(string(text))
		if err != nil {
			return r, usage(fmt.Errorf("reading --file %s: %w", f.file, err))
		}
		r.People = append(r.People, people...)
	}
	if len(r.People) == 0 {
		return r, usage(fmt.Errorf("nobody is named: use --user-id, --anonymous-id or --file"))
	}
	return r, nil
}

// atOnce is how many people one request names.
const atOnce = 10_000

// inParts calls use with parts of r.
func inParts(r api.SuppressRequest, use func(api.SuppressRequest) (int64, error)) (total int64, err error) {
	for people := range slices.Chunk(r.People, atOnce) {
		part := r
		part.People = people
		n, err := use(part)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

func (c *command) suppressCommand() *cobra.Command {
	var f peopleFlags
	cmd := &cobra.Command{
		Use: "suppress", Short: "Keep nothing of people from now on", Args: cobra.NoArgs,
		Long: "Suppress lets no event of the people in any more: at the door nothing of what it says is kept, its sender is told that all is well, and it is counted. What is there already stays; `privacy delete` deletes it.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			r, err := f.request()
			if err != nil {
				return err
			}
			n, err := inParts(r, func(r api.SuppressRequest) (int64, error) { return client.Suppress(ctx, r) })
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Changed{Changed: n})
			}
			c.say("%s suppressed, %d of them newly", plural(int64(len(r.People)), "id"), n)
			return nil
		}),
	}
	f.bind(cmd)
	return cmd
}

func (c *command) unsuppressCommand() *cobra.Command {
	var f peopleFlags
	cmd := &cobra.Command{
		Use: "unsuppress", Short: "Let people's events in again", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			r, err := f.request()
			if err != nil {
				return err
			}
			n, err := inParts(r, func(r api.SuppressRequest) (int64, error) { return client.Unsuppress(ctx, r) })
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(api.Changed{Changed: n})
			}
			c.say("%s no longer suppressed", plural(n, "id"))
			if left := int64(len(r.People)) - n; left > 0 {
				c.say("%s had no such entry: `tidegate privacy list` shows who is suppressed, and for which source (--source)", plural(left, "id"))
			}
			return nil
		}),
	}
	f.bind(cmd)
	return cmd
}

func (c *command) suppressedCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who is suppressed", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			list, err := client.Suppressions(ctx)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			var rows [][]string
			for _, e := range list {
				rows = append(rows, []string{string(e.Kind), e.ID, orDefault(e.Source, "all"), e.At.UTC().Format(time.RFC3339), e.Actor, e.Reason})
			}
			return c.list("Nobody is suppressed; `tidegate privacy suppress` keeps nothing more of somebody.", []string{"KIND", "ID", "SOURCE", "SINCE", "BY", "REASON"}, rows)
		}),
	}
}

func (c *command) deleteCommand() *cobra.Command {
	var f peopleFlags
	var r api.DeleteRequest
	var yes, detach bool
	cmd := &cobra.Command{
		Use: "delete", Short: "Delete people from journal, warehouse and destinations", Args: cobra.NoArgs,
		Long: `Delete removes what is held of people: their events from the journal, their rows
(and those of the anonymous ids that identify calls link to them) from the
warehouse, and their records from every destination that a ledger says has them.
It prints the receipt: place by place what was found, deleted and, by a look
afterwards, left, and what remains until when. It cannot be taken back.`,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			people, err := f.request()
			if err != nil {
				return err
			}
			if !yes {
				return usage(fmt.Errorf("%s would be deleted for good; say --yes", plural(int64(len(people.People)), "id")))
			}
			r.SuppressRequest = people
			d, err := client.DeletePeople(ctx, r)
			for err == nil && !detach && d.State != "done" && d.State != "failed" {
				if err = retry.Wait(ctx, followEvery); err == nil {
					d, err = client.Deletion(ctx, d.ID)
				}
				if err == nil && d.Fault != nil {
					_, _ = fmt.Fprintf(c.env.Stderr, "%s: %s; it is tried again\n", d.Fault.Code, d.Fault.Message)
					detach = true
				}
			}
			if err != nil {
				return err
			}
			return c.showDeletion(d)
		}),
	}
	f.bind(cmd)
	cmd.Flags().BoolVar(&r.Suppress, "suppress", false, "keep nothing of them from now on too")
	cmd.Flags().BoolVar(&r.KeepDestinations, "keep-destinations", false, "leave what destinations hold; the receipt names them")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait until it is done")
	return cmd
}

func (c *command) showDeletion(d api.Deletion) error {
	if c.json {
		return c.printJSON(d)
	}
	c.say("%s  %s  %s, %d linked, below offset %s", d.ID, d.State, plural(int64(d.Receipt.People), "id"), d.Receipt.Linked, orDefault(d.Receipt.Below, "?"))
	var rows [][]string
	without := 0
	for _, p := range d.Receipt.Places {
		if p.Found == 0 && p.Deleted == 0 && p.Left == 0 && !p.VerifiedAt.IsZero() && p.Note == "" {
			without++
			continue
		}
		verified := ""
		if !p.VerifiedAt.IsZero() {
			verified = p.VerifiedAt.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{p.Kind, p.Name, strconv.FormatInt(p.Found, 10), strconv.FormatInt(p.Deleted, 10), strconv.FormatInt(p.Left, 10), verified, p.Note})
	}
	if len(rows) > 0 {
		if err := table(c.env.Stdout, []string{"PLACE", "NAME", "FOUND", "DELETED", "LEFT", "VERIFIED", "NOTE"}, rows); err != nil {
			return err
		}
	}
	if without > 0 {
		c.say("nothing was found in %s; --json lists them", plural(int64(without), "other place"))
	}
	for _, r := range d.Receipt.Remains {
		until := ""
		if !r.Until.IsZero() {
			until = " (until " + r.Until.UTC().Format(time.RFC3339) + ")"
		}
		c.say("remains in %s: %s%s", r.Place, r.What, until)
	}
	return nil
}

func (c *command) deletionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deletions", Short: "List deletions, newest first", Args: cobra.NoArgs,
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			list, err := client.Deletions(ctx, 50)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(list)
			}
			var rows [][]string
			for _, d := range list {
				rows = append(rows, []string{d.ID, d.State, strconv.Itoa(d.Receipt.People), d.Actor, d.CreatedAt.UTC().Format(time.RFC3339)})
			}
			return c.list("There are no deletions; `tidegate privacy delete` makes one.", []string{"DELETION", "STATE", "IDS", "BY", "ASKED"}, rows)
		}),
	}
}

func (c *command) receiptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "receipt ID", Short: "Show a deletion's receipt", Args: cobra.ExactArgs(1),
		RunE: c.withClient(func(ctx context.Context, client *api.Client, args []string) error {
			d, err := client.Deletion(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showDeletion(d)
		}),
	}
}

func (c *command) scanCommand() *cobra.Command {
	r := api.ScanRequest{}
	var since string
	cmd := &cobra.Command{
		Use: "scan", Short: "Find personal data where nobody expects it", Args: cobra.NoArgs,
		Long: "Scan looks at events that the journal still holds and says in which properties there are e-mail addresses, telephone numbers, card numbers, IBANs, social security numbers or addresses of devices. It never shows a value.",
		RunE: c.withClient(func(ctx context.Context, client *api.Client, _ []string) error {
			if since != "" {
				var err error
				if r.Since, err = c.moment("--since", since); err != nil {
					return err
				}
			}
			report, err := client.ScanPrivacy(ctx, r)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(report)
			}
			var rows [][]string
			for _, f := range report.Findings {
				rows = append(rows, []string{f.Kind, f.Source, f.Event, f.Path, strconv.FormatInt(f.Count, 10)})
			}
			if len(rows) > 0 {
				if err := table(c.env.Stdout, []string{"KIND", "SOURCE", "EVENT", "PROPERTY", "EVENTS"}, rows); err != nil {
					return err
				}
			}
			c.say("%s looked at, %d left out: %s", plural(report.Looked, "event"), report.Skipped, plural(int64(len(rows)), "finding"))
			return nil
		}),
	}
	cmd.Flags().StringVar(&r.Source, "source", "", "events of this source only")
	cmd.Flags().StringVar(&since, "since", "", "the first arrival: a time (RFC 3339) or how long ago (24h)")
	cmd.Flags().IntVar(&r.Limit, "sample", 10_000, "look at no more events than this, spread over the period")
	return cmd
}
