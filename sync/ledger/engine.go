package ledger

import (
	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse/sqltext"
)

// engine is the part of the ledger's SQL that differs from engine to engine; a
// dialect without one cannot hold a ledger. All else is in sql.go, and how rows are hashed is the dialect's.
type engine interface {
	// keyText is a key column as the text that its hash is taken of. It is the
	// same on every engine, so that a ledger can move.
	keyText(col sqltext.Text, kind tidegate.Kind) sqltext.Text
	words() words
	// keyHashes are the two halves of the MD5 of a text, 63 bits each.
	keyHashes(text sqltext.Text) (hash, check sqltext.Text)
	// settings are for a transaction that verifies and compares; they end with it. With scarce the
	// engine had not the memory that it took without.
	settings(scarce bool) []string
	// sumsFirst: scratch needs the checksum of the model.
	sumsFirst() bool
	// scratch creates the temporary table of candidates.
	scratch(c comparison) []string
	// results reads the JSON array of resultRow in a parameter, with a row for each ordinal.
	results(param sqltext.Text) sqltext.Text
}

// words are single words in which engines differ.
type words struct {
	// bytes is the function that tells the length of a text in bytes.
	bytes sqltext.Text
	// temporary follows the name of a temporary table that ends with its transaction.
	temporary sqltext.Text
	// cascade follows DROP TABLE where a view may stand on the table.
	cascade sqltext.Text
	// indexes counts the indexes of a schema that have a name; empty where rows are found without.
	indexes sqltext.Text
	// fence follows a query that the engine is to take as it is: what it computes it computes once a row.
	fence sqltext.Text
	// touched orders the keys that a fold touches, where rows are found by an index: neighbours in it then follow each other.
	touched sqltext.Text
	// returns: a statement that changes rows can be a query of them (WITH … RETURNING).
	returns bool
}

// engines are those that ledgers are worked on, by the names of their dialects.
func engines() map[string]engine {
	return map[string]engine{"duckdb": duckdbEngine{}, "postgres": postgresEngine{}}
}

func engineOf(d sqltext.Dialect) (engine, bool) {
	e, ok := engines()[d.Name()]
	return e, ok
}

// scratchTable and the others are temporary: each transaction has its own.
const (
	scratchTable sqltext.Text = "tidegate_scratch"
	ownedTable   sqltext.Text = "tidegate_owned"
	touchedTable sqltext.Text = "tidegate_touched"
)

// comparison is one way to compare the model with __ledger.
type comparison struct {
	rows   sqltext.Text // the model as (present, fingerprint, c0 … cn)
	bare   sqltext.Text // the same, where the fingerprint is used once
	ledger sqltext.Text // the quoted name of __ledger
	// number tells rows of the model apart, more or less, by c0 …, and costs less than the fingerprint; key is the same of the columns
	// of the model's query, and some are rows where a condition on them holds.
	number, key sqltext.Text
	some        func(where sqltext.Text) sqltext.Text
	cells       int
	hash        sqltext.Text // of the key in c0 …; NULL for a bad key
	check       sqltext.Text
	// text is the key as text, NULL for a bad key.
	text sqltext.Text
	// staged is joined where that was done elsewhere: rows then are those of the model that were brought here.
	staged sqltext.Text
	// found is what has no partner, where that was found in the program; nil otherwise.
	found *pairs
	// every row is a candidate, changed or not.
	every bool
	// twins also finds the rows of one key that hide among the unchanged, at the
	// price of grouping every row by its key.
	twins bool
	// partial: what the model does not return is not looked for.
	partial bool
	// model and confirmed are the checksums of the model, where it was taken, and of
	// what the ledger holds as confirmed; keys is how many keys the ledger holds.
	model     *checksums
	confirmed checksums
	keys      int64
}

// checksums are count, xor and sum of fingerprints.
type checksums struct{ rows, xor, sum int64 }

func (c comparison) names() []sqltext.Text {
	list := make([]sqltext.Text, c.cells)
	for i := range list {
		list[i] = cell(i)
	}
	return list
}

// joined is every row of the model beside the confirmed row of equal
// fingerprint, and what is left on either side. A row is open when it may be a
// change. Rows pair by fingerprint alone, which holds the key too: one narrow
// column to join by, and keys are hashed for open rows only.
func (c comparison) joined() sqltext.Text {
	if c.staged != "" {
		return c.staged
	}
	open, join := sqltext.Text("n.key_hash IS NULL OR m.present IS NULL"), sqltext.Text("FULL")
	if c.every {
		open = "true"
	}
	if c.partial {
		join = "LEFT"
	}
	return "SELECT m.*, n.key_hash AS n_hash, n.key_check AS n_check, n.acked AS n_acked, " + open + " AS open FROM (" + c.rows + ") AS m " + join +
		" JOIN (SELECT key_hash, key_check, acked, CASE WHEN acked THEN fingerprint END AS j FROM " + c.ledger + ") AS n ON m.fingerprint = n.j"
}

func (c comparison) keyed() sqltext.Text {
	when := sqltext.Text("open AND present")
	if c.twins {
		when = "present"
	}
	return "SELECT j.*, CASE WHEN " + when + " THEN " + c.hash + " ELSE n_hash END AS h, CASE WHEN " + when + " THEN " + c.check + " ELSE n_check END AS k FROM (" + c.joined() + ") AS j"
}
