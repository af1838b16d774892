package postgres

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
)

// TestNumericRoundTrip: a decimal text goes out and comes back as its canonical form.
func TestNumericRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,45}(\.[0-9]{1,45})?`).Draw(t, "text")
		raw, err := appendNumeric(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendDecimal(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := new(big.Rat).SetString(text)
		back, ok := new(big.Rat).SetString(string(got))
		if !ok || want.Cmp(back) != 0 {
			t.Fatalf("%s became %s", text, got)
		}
		if !regexp.MustCompile(`^(0|-?(0\.|[1-9][0-9]*\.?)[0-9]*)$`).Match(got) || strings.Contains(string(got), ".") && got[len(got)-1] == '0' || got[len(got)-1] == '.' {
			t.Fatalf("%s is not canonical", got)
		}
	})
}

// FuzzDecode: no bytes of a server make the decoders panic or run away.
func FuzzDecode(f *testing.F) {
	f.Add(uint32(oidNumeric), []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(uint32(oidNumeric), []byte{0, 0, 0x7f, 0xff, 0, 0, 0, 0})
	f.Add(uint32(oidNumeric), []byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0})
	f.Add(uint32(1007), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7})
	f.Add(uint32(1007), []byte{0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 23, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(uint32(oidJSONB), []byte{1, '{', '}'})
	f.Add(uint32(oidTimestamp), []byte{0x80, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, oid uint32, raw []byte) {
		c := column{oid: oid}
		v, err := c.cell(raw)
		if err == nil && raw != nil && v == nil {
			t.Errorf("a value of type %d became NULL", oid)
		}
	})
}

// TestGrants: every refusal of the server that is known becomes the statement that mends it.
func TestGrants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ message, want string }{
		{"permission denied for table orders", "GRANT SELECT ON orders TO r;"},
		{"permission denied for view v", "GRANT SELECT ON v TO r;"},
		{"permission denied for materialized view v", "GRANT SELECT ON v TO r;"},
		{"permission denied for schema crm", "GRANT USAGE ON SCHEMA crm TO r;"},
		{"permission denied for database shop", "GRANT CREATE ON DATABASE shop TO r;"},
		{`permission denied to create temporary tables in database "shop"`, "GRANT TEMPORARY ON DATABASE shop TO r;"},
		{"permission denied for function f", "GRANT EXECUTE ON FUNCTION f TO r;"},
		{"permission denied for sequence s", "GRANT SELECT ON SEQUENCE s TO r;"},
		{"must be owner of table t", "ALTER TABLE t OWNER TO r;"},
		{"Zugriff verweigert", "grant the role r what it lacks;"},
	} {
		if got := grant(c.message, "r"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", c.message, got)
		}
	}
}

// TestScarceSharedMemory: a full /dev/shm is no full disk.
func TestScarceSharedMemory(t *testing.T) {
	t.Parallel()
	for message, code := range map[string]string{
		"could not resize shared memory segment \"/PostgreSQL.7\" to 67108864 bytes: No space left on device": "warehouse.memory",
		"could not extend file \"base/5/16384\": No space left on device":                                     "warehouse.disk",
	} {
		if f := serverFault(&pgconn.PgError{Code: "53100", Message: message}, "", ""); f.Code != code || f.Action != tidegate.Retry || f.Hint == "" {
			t.Errorf("%s: %+v", message, f)
		}
	}
}

// TestStoppedCopyLeavesTheRowsAlone: the driver's goroutine may come late when the
// connection broke; the rows are somebody else's by then.
func TestStoppedCopyLeavesTheRowsAlone(t *testing.T) {
	t.Parallel()
	read := 0
	c := &copySource{fields: 1, next: func(dst []byte) ([]byte, error) {
		read++
		return append(dst, nullField...), nil
	}}
	if n, err := c.Read(make([]byte, 100)); n != 100 || err != nil {
		t.Fatal(n, err)
	}
	c.off = len(c.buf)
	c.stop()
	before := read
	if n, err := c.Read(make([]byte, 100)); n != 0 || !errors.Is(err, errStopped) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if read != before {
		t.Error("rows were read after the copy was over")
	}
}
