package ledger

import "github.com/tidegate/tidegate/warehouse/sqltext"

// bigqueryHome is BigQuery's GoogleSQL.
type bigqueryHome struct{}

func (bigqueryHome) fingerprint(version int64, cells []sqltext.Text) sqltext.Text {
	return "(FARM_FINGERPRINT(CONCAT('" + number(version) + "', TO_JSON_STRING(STRUCT(" + sqltext.Join(cells, ", ") + ")))) & 9223372036854775807)"
}

func (bigqueryHome) hashProbe() string {
	return `SELECT FARM_FINGERPRINT(CONCAT('7', TO_JSON_STRING(STRUCT(1, 'tide"gate', TRUE, 1.5, NUMERIC '12.34', DATE '2024-02-29', TIMESTAMP '2024-02-29 12:00:00+00', b'a', NULL)))) & 9223372036854775807`
}

func (bigqueryHome) xor(x sqltext.Text) sqltext.Text { return "BIT_XOR(" + x + ")" }

func (bigqueryHome) low(x sqltext.Text) sqltext.Text { return "(" + x + " & 4294967295)" }
