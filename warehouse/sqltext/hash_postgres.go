package sqltext

import "github.com/tidegate/tidegate"

// postgresHash hashes each cell with a seed of its own, puts the numbers together by their bits, and hashes
// the result: a checksum of rows that were not hashed as a whole would not see two of them exchange a
// value. Hashing all cells as one record takes twice as long, for the engine builds it first.
func postgresHash() Hash {
	h := Hash{Row: postgresRow, Xor: func(x Text) Text { return "bit_xor(" + x + ")" }, Low: masked}
	h.Probe = probe(h, []Cell{
		{"1", tidegate.Int},
		{"'tidegate'", tidegate.String},
		{"true", tidegate.Bool},
		{"1.5", tidegate.Float},
		{"12.34", tidegate.Decimal},
		{"DATE '2024-02-29'", tidegate.Date},
		{"TIMESTAMPTZ '2024-02-29 12:00:00Z'", tidegate.Timestamp},
		{"'\\x0061'::bytea", tidegate.Bytes},
		{"NULL", tidegate.String},
	})
	return h
}

func postgresRow(seed int64, cells []Cell) Text {
	s := seeds(seed)
	var hashes, others []Text
	for _, c := range cells {
		if hash := postgresCell(c, &s); hash != "" {
			hashes = append(hashes, "coalesce("+hash+", "+s.next()+")")
			continue
		}
		others = append(others, postgresBytes(c))
	}
	if len(others) > 0 {
		hashes = append(hashes, "hash_record_extended(ROW("+Join(others, ", ")+"), "+s.next()+")")
	}
	return "(hashtextextended(to_hex(" + exclusive(hashes) + `) COLLATE "C", ` + s.next() + ") & " + bits63 + ")"
}

// postgresCell hashes a cell where the engine has a function for it that sees the whole value: its
// hash of a whole number folds the upper half into the lower, so that half is hashed besides, and a
// text may have a collation that takes different ones for equal. Decimals are hashed as text because their own
// hash leaves out the sign. It is NULL for NULL, and empty for the kinds that postgresBytes is for.
func postgresCell(c Cell, s *seeds) Text {
	switch c.Kind {
	case tidegate.Int:
		n := "CAST(" + c.Column + " AS bigint)"
		return "hashint8extended(" + n + ", " + s.next() + ") # hashint8extended(" + n + " >> 32, " + s.next() + ")"
	case tidegate.Bool, tidegate.Bytes, tidegate.Date, tidegate.Float, tidegate.Timestamp:
		return ""
	default:
		return "hashtextextended(CAST(" + c.Column + ` AS text) COLLATE "C", ` + s.next() + ")"
	}
}

// postgresBytes is the bytes of a value where the engine's own hash of its type does not see all of them.
func postgresBytes(c Cell) Text {
	switch c.Kind {
	case tidegate.Float:
		return "float8send(CAST(" + c.Column + " AS double precision))"
	case tidegate.Timestamp:
		return "timestamptz_send(CAST(" + c.Column + " AS timestamptz))"
	default:
		return c.Column
	}
}

// exclusive is a # b # …, as a tree: a table has more columns than an expression may have levels.
func exclusive(of []Text) Text {
	if len(of) == 1 {
		return of[0]
	}
	half := len(of) / 2
	return "(" + exclusive(of[:half]) + " # " + exclusive(of[half:]) + ")"
}

// seeds are numbers of 63 bits that have nothing to do with each other (SplitMix64).
type seeds uint64

func (s *seeds) next() Text {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return number(int64((z ^ z>>31) >> 1))
}
