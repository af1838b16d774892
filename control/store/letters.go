package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/forward"
)

// Letters are what one forward keeps beside the journal.
type Letters struct {
	w       *Workspace
	forward string
}

var _ forward.Store = (*Letters)(nil)

// Letters returns the letters of a forward.
func (w *Workspace) Letters(name string) *Letters { return &Letters{w: w, forward: name} }

const letterColumns = "position, dead, lanes, source, message_id, type, name, user, received_at, attempts, first_at, next_at, died_at, code, message, hint"

// Put implements forward.Store.
func (l *Letters) Put(ctx context.Context, letters []forward.Letter) error {
	return l.w.tx(ctx, "writing letters to", func(tx *sql.Tx) (err error) {
		insert, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO forward_letters (workspace, forward, event, `+letterColumns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
		if err != nil {
			return fmt.Errorf("preparing to write letters: %w", err)
		}
		defer func() { err = errors.Join(err, insert.Close()) }()
		for i := range letters {
			x := &letters[i]
			lanes, err := json.Marshal(x.Lanes)
			if err != nil {
				return fmt.Errorf("encoding the lanes of the letter at %d: %w", x.Position, err)
			}
			_, err = insert.ExecContext(ctx, l.w.id, l.forward, x.Event, x.Position, x.Dead, string(lanes), x.Source, x.MessageID, string(x.Type), x.Name, x.User,
				micros(x.ReceivedAt), x.Attempts, nullMicros(x.FirstAt), nullMicros(x.NextAt), nullMicros(x.DiedAt), x.Code, x.Message, x.Hint)
			if err != nil {
				return fmt.Errorf("writing the letter at %d: %w", x.Position, err)
			}
		}
		return nil
	})
}

// Remove implements forward.Store. Dead letters stay: they were made after.
func (l *Letters) Remove(ctx context.Context, positions []int64) error {
	_, err := l.each(ctx, "DELETE FROM forward_letters WHERE workspace = ? AND forward = ? AND position = ? AND dead = 0", positions)
	return err
}

// Discard forgets dead letters for good and returns how many there were.
func (l *Letters) Discard(ctx context.Context, positions []int64) (int64, error) {
	return l.each(ctx, "DELETE FROM forward_letters WHERE workspace = ? AND forward = ? AND position = ? AND dead = 1", positions)
}

// Revive makes dead letters wait again, due at once and as if never tried, and
// returns how many.
func (l *Letters) Revive(ctx context.Context, positions []int64) (int64, error) {
	return l.each(ctx, `UPDATE forward_letters SET dead = 0, attempts = 0, first_at = NULL, next_at = NULL, died_at = NULL
		WHERE workspace = ? AND forward = ? AND position = ? AND dead = 1`, positions)
}

// each runs a statement for every position in one transaction.
func (l *Letters) each(ctx context.Context, statement string, positions []int64) (n int64, err error) {
	err = l.w.tx(ctx, "changing letters of", func(tx *sql.Tx) error {
		for _, p := range positions {
			result, err := tx.ExecContext(ctx, statement, l.w.id, l.forward, p)
			if err != nil {
				return fmt.Errorf("changing the letter at %d: %w", p, err)
			}
			changed, err := result.RowsAffected()
			if err != nil {
				return fmt.Errorf("changing the letter at %d: %w", p, err)
			}
			n += changed
		}
		return nil
	})
	return n, err
}

// Waiting implements forward.Store.
func (l *Letters) Waiting(ctx context.Context) ([]forward.Letter, error) {
	return l.list(ctx, "NULL, "+letterColumns, "dead = 0 ORDER BY position")
}

// Get implements forward.Store.
func (l *Letters) Get(ctx context.Context, positions []int64) ([]forward.Letter, error) {
	var all []forward.Letter
	for len(positions) > 0 {
		n := min(len(positions), 500)
		args := make([]any, n)
		for i, p := range positions[:n] {
			args[i] = p
		}
		list, err := l.list(ctx, "event, "+letterColumns, "position IN (?"+strings.Repeat(", ?", n-1)+")", args...)
		if err != nil {
			return nil, err
		}
		all, positions = append(all, list...), positions[n:]
	}
	return all, nil
}

// DeadLetters lists dead letters, newest first: those of one code when it is not
// empty, and of positions below before when it is not 0.
func (l *Letters) DeadLetters(ctx context.Context, code string, before int64, limit int) ([]forward.Letter, error) {
	return l.list(ctx, "event, "+letterColumns, "dead = 1 AND (? = '' OR code = ?) AND (? = 0 OR position < ?) ORDER BY position DESC LIMIT ?", code, code, before, before, limit)
}

func (l *Letters) list(ctx context.Context, columns, where string, args ...any) (list []forward.Letter, err error) {
	rows, err := l.w.s.read.QueryContext(ctx, "SELECT "+columns+" FROM forward_letters WHERE workspace = ? AND forward = ? AND "+where, append([]any{l.w.id, l.forward}, args...)...)
	if err != nil {
		return nil, l.w.s.classify("reading letters from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var x forward.Letter
		var lanes, kind string
		var received int64
		var first, next, died sql.NullInt64
		err := rows.Scan(&x.Event, &x.Position, &x.Dead, &lanes, &x.Source, &x.MessageID, &kind, &x.Name, &x.User, &received, &x.Attempts, &first, &next, &died, &x.Code, &x.Message, &x.Hint)
		if err == nil {
			err = json.Unmarshal([]byte(lanes), &x.Lanes)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a letter: %w", err)
		}
		x.Type, x.ReceivedAt = tidegate.EventType(kind), fromMicros(received)
		x.FirstAt, x.NextAt, x.DiedAt = fromNullMicros(first), fromNullMicros(next), fromNullMicros(died)
		list = append(list, x)
	}
	return list, l.w.s.classify("reading letters from", rows.Err())
}

// Prune implements forward.Store.
func (l *Letters) Prune(ctx context.Context, keep int64, before time.Time) (n int64, err error) {
	result, err := l.w.s.write.ExecContext(ctx, `DELETE FROM forward_letters WHERE workspace = ?1 AND forward = ?2 AND dead = 1 AND (died_at < ?3 OR position IN (
		SELECT position FROM forward_letters WHERE workspace = ?1 AND forward = ?2 AND dead = 1 ORDER BY died_at DESC, position DESC LIMIT -1 OFFSET ?4))`,
		l.w.id, l.forward, micros(before), keep)
	if err != nil {
		return 0, l.w.s.classify("pruning letters of", err)
	}
	return result.RowsAffected()
}

// Count implements forward.Store.
func (l *Letters) Count(ctx context.Context) (c forward.Counts, err error) {
	err = l.w.s.read.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE dead = 0), count(*) FILTER (WHERE dead = 1)
		FROM forward_letters WHERE workspace = ? AND forward = ?`, l.w.id, l.forward).Scan(&c.Waiting, &c.Dead)
	return c, l.w.s.classify("counting letters of", err)
}

// Causes counts dead letters by their codes, most frequent first.
func (l *Letters) Causes(ctx context.Context, limit int) (list []LetterCause, err error) {
	rows, err := l.w.s.read.QueryContext(ctx, `SELECT code, max(message), count(*), max(died_at) FROM forward_letters
		WHERE workspace = ? AND forward = ? AND dead = 1 GROUP BY code ORDER BY count(*) DESC, code LIMIT ?`, l.w.id, l.forward, limit)
	if err != nil {
		return nil, l.w.s.classify("reading letters from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c LetterCause
		var last sql.NullInt64
		if err := rows.Scan(&c.Code, &c.Message, &c.Letters, &last); err != nil {
			return nil, fmt.Errorf("reading the causes of dead letters: %w", err)
		}
		c.LastAt = fromNullMicros(last)
		list = append(list, c)
	}
	return list, l.w.s.classify("reading letters from", rows.Err())
}

// LetterCause is why dead letters are dead.
type LetterCause struct {
	Code    string    `json:"code"`
	Message string    `json:"message" doc:"Of one of them."`
	Letters int64     `json:"letters"`
	LastAt  time.Time `json:"last_at"`
}

// ForwardState is what is remembered of a forward beside its letters.
type ForwardState struct {
	Name string
	// Started says that its place in the journal was chosen and saved.
	Started bool
	Paused  bool
}

// ForwardStates lists the forwards that were ever started and not forgotten.
func (w *Workspace) ForwardStates(ctx context.Context) (list []ForwardState, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT forward, started > 0, paused FROM forwards WHERE workspace = ? ORDER BY forward", w.id)
	if err != nil {
		return nil, w.s.classify("reading forwards from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f ForwardState
		if err := rows.Scan(&f.Name, &f.Started, &f.Paused); err != nil {
			return nil, fmt.Errorf("reading a forward: %w", err)
		}
		list = append(list, f)
	}
	return list, w.s.classify("reading forwards from", rows.Err())
}

// PutForward remembers a forward.
func (w *Workspace) PutForward(ctx context.Context, f ForwardState) error {
	started := int64(0)
	if f.Started {
		started = micros(w.s.now())
	}
	_, err := w.s.write.ExecContext(ctx, `INSERT INTO forwards (workspace, forward, started, paused) VALUES (?, ?, ?, ?)
		ON CONFLICT (workspace, forward) DO UPDATE SET paused = excluded.paused, started = CASE WHEN started > 0 THEN started ELSE excluded.started END`, w.id, f.Name, started, f.Paused)
	return w.s.classify("writing a forward to", err)
}

// ForgetForward forgets a forward and its letters.
func (w *Workspace) ForgetForward(ctx context.Context, name string) error {
	return w.tx(ctx, "forgetting a forward in", func(tx *sql.Tx) error {
		for _, table := range []string{"forward_letters", "forwards"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE workspace = ? AND forward = ?", w.id, name); err != nil {
				return fmt.Errorf("forgetting forward %s: %w", name, err)
			}
		}
		return nil
	})
}

// EraseLetters removes the letters, waiting or dead, of every forward of which out says
// so, for the deletion of people, and returns how many there were by forward. The
// file's own log of writes is emptied too, when nobody reads at that moment.
func (w *Workspace) EraseLetters(ctx context.Context, out func(*forward.Letter) bool) (map[string]int64, error) {
	counts, err := w.eachLetter(ctx, out, func(l *Letters, positions []int64) error {
		_, err := l.each(ctx, "DELETE FROM forward_letters WHERE workspace = ? AND forward = ? AND position = ?", positions)
		return err
	})
	if err == nil && len(counts) > 0 {
		_, err = w.s.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		err = w.s.classify("emptying the log of", err)
	}
	return counts, err
}

// CountLetters counts the letters of every forward of which which says so.
func (w *Workspace) CountLetters(ctx context.Context, which func(*forward.Letter) bool) (map[string]int64, error) {
	return w.eachLetter(ctx, which, func(*Letters, []int64) error { return nil })
}

// letterPage bounds how many letters are in memory at once.
const letterPage = 200

// eachLetter hands the positions of the letters of which which says so to use.
func (w *Workspace) eachLetter(ctx context.Context, which func(*forward.Letter) bool, use func(*Letters, []int64) error) (map[string]int64, error) {
	names, err := w.letterForwards(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, name := range names {
		l := w.Letters(name)
		for behind := int64(-1); ; {
			page, err := l.list(ctx, "event, "+letterColumns, "position > ? ORDER BY position LIMIT ?", behind, letterPage)
			if err != nil {
				return counts, err
			}
			var positions []int64
			for i := range page {
				if behind = page[i].Position; which(&page[i]) {
					positions = append(positions, behind)
				}
			}
			if len(positions) > 0 {
				if err := use(l, positions); err != nil {
					return counts, err
				}
				counts[name] += int64(len(positions))
			}
			if len(page) < letterPage {
				break
			}
		}
	}
	return counts, nil
}

// letterForwards lists the forwards that have letters.
func (w *Workspace) letterForwards(ctx context.Context) (names []string, err error) {
	rows, err := w.s.read.QueryContext(ctx, "SELECT DISTINCT forward FROM forward_letters WHERE workspace = ? ORDER BY forward", w.id)
	if err != nil {
		return nil, w.s.classify("reading letters from", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("reading the forwards of letters: %w", err)
		}
		names = append(names, name)
	}
	return names, w.s.classify("reading letters from", rows.Err())
}
