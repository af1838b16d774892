package duckdb_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
)

// TestTornCommitIsWholeOrNothing: a process that dies while it commits leaves a part of
// the transaction in the log. Tables of which the transaction fills whole row groups
// must then lack its rows as all the others do, also after they were closed and opened
// again, and the transactions before it must be there. So it is in files of our making, with
// columns that are told how to compress, and in those of the newest format.
func TestTornCommitIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	for format, told := range map[string]string{"v1.0.0": " USING COMPRESSION fsst", "latest": ""} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "w.duckdb")
			makeFile(t, path, format)
			tornCommits(t, path, told)
		})
	}
}

func tornCommits(t *testing.T, path, told string) {
	t.Helper()
	w := openAt(t, path)
	for _, sql := range []string{
		"CREATE TABLE place (n BIGINT)", "INSERT INTO place VALUES (0)",
		"CREATE TABLE seen (id BIGINT)", "CREATE INDEX seen_id ON seen (id)",
		"CREATE TABLE few (id BIGINT)", "CREATE TABLE wide (id BIGINT, s VARCHAR" + told + ")",
	} {
		if _, err := w.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Exec(t.Context(), "INSERT INTO few VALUES (-1)"); err != nil {
		t.Fatal(err)
	}
	before := int64(len(readFile(t, path+".wal")))
	const group = 122_880
	tx, err := w.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"UPDATE place SET n = 1",
		fmt.Sprintf("INSERT INTO seen SELECT range FROM range(%d)", group),
		"INSERT INTO few SELECT range FROM range(3000)",
		fmt.Sprintf("INSERT INTO wide SELECT range, 'a text of some length ' || range FROM range(%d)", group),
	} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	db, wal := readFile(t, path), readFile(t, path+".wal")
	cuts := []int64{before, before + 1, before + 15, before + 17}
	for at := before; at < int64(len(wal)); { // each entry's end, a byte before it, and somewhere in it
		end := at + 16 + int64(binary.LittleEndian.Uint64(wal[at:]))
		cuts = append(cuts, (at+end)/2, end-1, end)
		at = end
	}
	// Some of the many, the whole log among them.
	for i, cut := range cuts {
		if len(cuts) > 60 && i > 10 && i < len(cuts)-20 && i%(len(cuts)/30) != 0 {
			continue
		}
		t.Run(fmt.Sprintf("cut at %d of %d", cut, len(wal)), func(t *testing.T) {
			torn := place(t, db, wal[:cut])
			for _, life := range []string{"first", "second"} {
				w := openAt(t, torn)
				got := all(t, w, "SELECT (SELECT n FROM place), (SELECT count(*) FROM seen), (SELECT count(*) FROM seen WHERE id IN (1, 7)), (SELECT count(*) FROM few), (SELECT count(*) FROM wide)")
				want := "[[0 0 0 1 0]]"
				if cut == int64(len(wal)) {
					want = "[[1 122880 2 3001 122880]]"
				}
				if fmt.Sprint(got) != want {
					t.Errorf("%s life: %v, want %s", life, got, want)
				}
				if recovered(w) || len(setAside(t, torn)) != 0 {
					t.Errorf("%s life: the log counts as lost", life)
				}
				if _, err := w.Exec(t.Context(), "INSERT INTO place SELECT 5 WHERE false"); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
