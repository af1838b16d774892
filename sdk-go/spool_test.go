package analytics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func spoolConfig(dir string, limit int64) *Config {
	return &Config{SpoolDir: dir, SpoolBytes: limit, SpoolSync: time.Hour, Logger: quiet()}
}

func mustSpool(t testing.TB, dir string, limit int64, context string) *spool {
	t.Helper()
	s, err := openSpool(spoolConfig(dir, limit), []byte(context))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPush(t testing.TB, q queue, events ...string) {
	t.Helper()
	for _, e := range events {
		if _, err := q.push(framed(e), 1); err != nil {
			t.Fatal(err)
		}
	}
}

// drain returns everything that the spool still holds, and closes it.
func drain(t testing.TB, s *spool) []string {
	t.Helper()
	var got []string
	var b batch
	for {
		if _, err := s.next(&b, 7, 100_000); err != nil {
			t.Fatal(err)
		}
		if b.len() == 0 {
			break
		}
		for i := range b.len() {
			got = append(got, string(b.event(i)))
		}
		if err := s.done(b.len()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return got
}

func spoolFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mustBeEmpty(t testing.TB, dir string) {
	t.Helper()
	if files := spoolFiles(t, dir); len(files) > 0 {
		t.Errorf("%d files are left of a spool that is done", len(files))
	}
}

// crash copies the folder as a killed process would leave it.
func crash(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, file := range spoolFiles(t, dir) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func events(from, to int) []string {
	var list []string
	for n := from; n < to; n++ {
		list = append(list, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n%50)))
	}
	return list
}

// A process that is killed after any step loses nothing that was accepted and
// keeps nothing that was settled.
func TestSpoolKilledAfterEveryStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20, `{"c":1}`)
	all := events(0, 60)
	pushed, settled := 0, 0
	var b batch
	for step := range 120 {
		if step%3 == 2 {
			if _, err := s.next(&b, 1+step%5, 10_000); err != nil {
				t.Fatal(err)
			}
			if b.len() > 0 {
				if err := s.done(b.len()); err != nil {
					t.Fatal(err)
				}
				settled += b.len()
			}
		} else if pushed < len(all) {
			mustPush(t, s, all[pushed])
			pushed++
		}
		copied := crash(t, dir)
		if got := drain(t, mustSpool(t, copied, 1<<20, `{}`)); !slices.Equal(got, all[settled:pushed]) {
			t.Fatalf("step %d: %d events are found, want those from %d to %d", step, len(got), settled, pushed)
		}
		mustBeEmpty(t, copied)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// A file may end anywhere: what was written whole before that place is found.
func TestSpoolTornAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20, `{"c":1}`)
	all := events(0, 4)
	var ends []int64
	for _, e := range all {
		mustPush(t, s, e)
		ends = append(ends, s.active.end)
	}
	start := s.active.start
	file := filepath.Base(spoolFiles(t, dir)[0])
	whole, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	for cut := range int64(len(whole)) {
		torn := t.TempDir()
		if err := os.WriteFile(filepath.Join(torn, file), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		for want < len(ends) && ends[want] <= cut {
			want++
		}
		if cut < start {
			want = 0
		}
		if got := drain(t, mustSpool(t, torn, 1<<20, `{}`)); !slices.Equal(got, all[:want]) {
			t.Fatalf("cut at %d: %d events are found, want %d", cut, len(got), want)
		}
	}
}

// No byte that changes on disk makes an event that was not enqueued, or stops
// the spool from opening; the events beside the damage are found.
func TestSpoolDamagedAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20, `{"c":1}`)
	all := events(0, 5)
	mustPush(t, s, all...)
	file := filepath.Base(spoolFiles(t, dir)[0])
	whole, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	for place := range whole {
		damaged := slices.Clone(whole)
		damaged[place] ^= 0x41
		bad := t.TempDir()
		if err := os.WriteFile(filepath.Join(bad, file), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got := drain(t, mustSpool(t, bad, 1<<20, `{}`))
		for _, e := range got {
			if !slices.Contains(all, e) {
				t.Fatalf("damage at %d: the event %q was never enqueued", place, e)
			}
		}
		if inText := place >= int(s.active.start)+frameHeader && place < int(s.active.start)+frameHeader+len(all[0]); inText && len(got) != len(all)-1 {
			t.Fatalf("damage at %d: %d events are found, want all but the first", place, len(got))
		}
	}
}

func FuzzSpoolFile(f *testing.F) {
	g := &segment{acked: segmentHead + frameHeader + 2}
	file := append(g.header(), sealFrame(framed("{}"), 0)...)
	f.Add(append(file, sealFrame(framed(`{"a":1}`), 5)...))
	f.Add([]byte(segmentMagic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, segmentName(3)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		drain(t, mustSpool(t, dir, 1<<20, `{}`))
	})
}

func TestSpoolBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const limit = 100_000
	s := mustSpool(t, dir, limit, `{}`)
	event := strings.Repeat("x", 500)
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = s.push(framed(event), 1)
	}
	n--
	if !errors.Is(err, ErrQueueFull) || n < limit/600 {
		t.Fatalf("after %d events: %v", n, err)
	}
	if on := onDisk(t, dir); on > limit {
		t.Errorf("%d bytes on disk, %d are allowed", on, limit)
	}
	var b batch
	if _, err := s.next(&b, n/2, 1<<20); err != nil {
		t.Fatal(err)
	}
	half := b.len()
	if err := s.done(half); err != nil {
		t.Fatal(err)
	}
	if _, err := s.push(framed(event), 1); err != nil {
		t.Errorf("half of it is settled, and there is no room: %v", err)
	}
	if got := drain(t, s); len(got) != n-half+1 {
		t.Errorf("%d events, want %d", len(got), n-half+1)
	}
	mustBeEmpty(t, dir)
}

func onDisk(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, file := range spoolFiles(t, dir) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

// What is settled leaves the disk, also from the file that is written to.
func TestSpoolForgetsWhatIsSettled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20, `{}`)
	var b batch
	for range 3 {
		mustPush(t, s, "a secret", "another secret")
		if _, err := s.next(&b, 10, 1000); err != nil {
			t.Fatal(err)
		}
		if err := s.done(2); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(spoolFiles(t, dir)[0])
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "secret") {
			t.Error("what is settled is still in the file")
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	mustBeEmpty(t, dir)
}

func TestSpoolTakesOneClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustSpool(t, dir, 1<<20, `{}`)
	if _, err := openSpool(spoolConfig(dir, 1<<20), nil); !errors.Is(err, errSpoolBusy) {
		t.Errorf("a second client: %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := mustSpool(t, dir, 1<<20, `{}`).close(); err != nil {
		t.Fatal(err)
	}
}

func TestSpoolSetsStrangersAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{segmentName(1): "not a spool file, but someone's", "notes.txt": "keep me", "abc.spool": "keep me too"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustSpool(t, dir, 1<<20, `{}`)
	mustPush(t, s, "one")
	if got := drain(t, s); !slices.Equal(got, []string{"one"}) {
		t.Errorf("got %v", got)
	}
	for _, name := range []string{segmentName(1) + ".damaged", "notes.txt", "abc.spool"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("a file that is not ours is gone: %v", err)
		}
	}
}

// Events of an earlier process keep the context under which they were made.
func TestSpoolKeepsTheContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := mustSpool(t, dir, 1<<20, `{"app":1}`)
	mustPush(t, first, "a", "b")
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second := mustSpool(t, dir, 1<<20, `{"app":2}`)
	mustPush(t, second, "c")
	var b batch
	for _, want := range []struct{ context, events string }{{`{"app":1}`, "a,b"}, {`{"app":2}`, "c"}} {
		if _, err := second.next(&b, 10, 1000); err != nil {
			t.Fatal(err)
		}
		if string(b.context) != want.context || string(b.events) != want.events {
			t.Errorf("%q under %q, want %+v", b.events, b.context, want)
		}
		if err := second.done(b.len()); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.close(); err != nil {
		t.Fatal(err)
	}
}

// A file that someone cuts under a running client costs its messages, and the
// client says so and goes on.
func TestSpoolCutUnderTheClient(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	dir := t.TempDir()
	client := newClient(t, h.URL, func(c *Config) { c.SpoolDir = dir })
	enqueue(t, client, 0, 5)
	file := spoolFiles(t, dir)[0]
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	blank, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.NewOffsetWriter(blank, segmentHead), zeros{}, info.Size()-segmentHead); err != nil {
		t.Fatal(err)
	}
	blank.Close()
	err = client.Flush(soon(t))
	if err == nil { // the sender looked before Flush did
		err = client.loss("", 0)
	}
	if !errors.Is(err, errSpoolChanged) {
		t.Errorf("the error is %v", err)
	}
	enqueue(t, client, 5, 8)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 5, 8)
	if s := mustBalance(t, client); s.Failed != 5 || s.Delivered != 3 {
		t.Errorf("counts %+v", s)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Close without time leaves everything in the spool; the next client delivers it
// before its own, under the same messageIds.
func TestSpoolAcrossClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	down := newHub(t)
	for range 1000 {
		down.script = append(down.script, down.then(status(503)))
	}
	first := newClient(t, down.URL, func(c *Config) { c.SpoolDir, c.BatchSize = dir, 5 })
	enqueue(t, first, 0, 12)
	down.await(t, 1)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := first.Close(ended); err == nil || !strings.Contains(err.Error(), "12 messages stay in the spool") {
		t.Errorf("the error is %v", err)
	}
	up := newHub(t)
	heard := &outcomes{}
	second := newClient(t, up.URL, func(c *Config) { c.SpoolDir, c.Callback = dir, heard })
	enqueue(t, second, 12, 15)
	if err := second.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, up, 0, 15)
	if s := mustBalance(t, second); s.Recovered != 12 || s.Accepted != 3 || s.Delivered != 15 {
		t.Errorf("counts %+v", s)
	}
	if len(heard.succeeded) != 15 || heard.succeeded[0].(Track).MessageId != "m-0" {
		t.Errorf("the callback heard of %d successes", len(heard.succeeded))
	}
	mustBeEmpty(t, dir)
}

// A write that fails is told to the caller, accepts nothing and damages nothing.
func TestSpoolWriteFails(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	dir := t.TempDir()
	client := newClient(t, h.URL, func(c *Config) { c.SpoolDir = dir })
	enqueue(t, client, 0, 3)
	active := client.queue.(*spool).active
	good := active.file
	readOnly, err := os.Open(good.Name())
	if err != nil {
		t.Fatal(err)
	}
	active.file = readOnly // as a disk that takes no more
	if err := client.Enqueue(track(99)); err == nil || errors.Is(err, ErrQueueFull) || !strings.Contains(err.Error(), "spooling a message") {
		t.Errorf("the error is %v", err)
	}
	active.file = good
	readOnly.Close()
	enqueue(t, client, 3, 6)
	if err := client.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	mustHold(t, h, 0, 6)
	if s := mustBalance(t, client); s.Accepted != 6 {
		t.Errorf("counts %+v", s)
	}
}

// What was written is synced after SpoolSync, once for all of it.
func TestSpoolSyncs(t *testing.T) {
	t.Parallel()
	s, err := openSpool(&Config{SpoolDir: t.TempDir(), SpoolBytes: 1 << 20, SpoolSync: time.Millisecond, Logger: quiet()}, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	mustPush(t, s, events(0, 100)...)
	clean := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.dirty) == 0 && !s.stale
	}
	for deadline := time.Now().Add(10 * time.Second); !clean(); {
		if time.Now().After(deadline) {
			t.Fatal("what was written is not synced")
		}
		time.Sleep(time.Millisecond) // a sync gives no signal
	}
	if got := drain(t, s); len(got) != 100 {
		t.Errorf("%d events", len(got))
	}
}
