package sqltext

import "strconv"

// Merge is the statement that brings rows into a table, in the words of GoogleSQL and of Snowflake.
type Merge struct {
	Table, Source Text
	// Order tells which of two rows of Source comes later.
	Order Text
	// Columns are quoted; Values read them from Source.
	Columns, Values []Text
	// Lack are the columns that rows have no value for.
	Lack []Text
	// Key are those of Columns by which a row of the table is replaced; without one, rows are appended.
	Key []int
	// Keep lets the rows that are there stay, and of new rows with one key the first.
	Keep bool
	// Group, if there is one, turns the i-th column into what it is grouped by.
	Group func(i int, column Text) Text
	// Where says that QUALIFY wants a WHERE beside it.
	Where bool
}

// Staged is what the i-th column of rows is called while it is not in its table.
func Staged(i int) Text { return "c" + Text(strconv.Itoa(i)) }

// Text writes the statement.
func (m Merge) Text() Text {
	columns := Join(m.Columns, ", ")
	if len(m.Key) == 0 {
		return "INSERT INTO " + m.Table + " (" + columns + ") SELECT " + Join(m.Values, ", ") + " FROM " + m.Source
	}
	named, taken := make([]Text, len(m.Values)), make([]Text, len(m.Values))
	for i, value := range m.Values {
		named[i], taken[i] = value+" AS "+Staged(i), "s."+Staged(i)
	}
	match, part := make([]Text, len(m.Key)), make([]Text, len(m.Key))
	for i, at := range m.Key {
		match[i], part[i] = "t."+m.Columns[at]+" = s."+Staged(at), "q."+Staged(at)
		if m.Group != nil {
			part[i] = m.Group(at, part[i])
		}
	}
	last, where := Text(" DESC"), Text("")
	if m.Keep {
		last = ""
	}
	if m.Where {
		where = " WHERE TRUE"
	}
	sql := "MERGE INTO " + m.Table + " AS t USING (SELECT * FROM (SELECT " + Join(named, ", ") + ", " + m.Order + " AS n FROM " + m.Source + ") AS q" + where +
		" QUALIFY ROW_NUMBER() OVER (PARTITION BY " + Join(part, ", ") + " ORDER BY q.n" + last + ") = 1) AS s ON " + Join(match, " AND ")
	if !m.Keep {
		sets := make([]Text, 0, len(m.Columns)+len(m.Lack))
		for i, name := range m.Columns {
			sets = append(sets, name+" = "+taken[i])
		}
		for _, name := range m.Lack {
			sets = append(sets, name+" = NULL")
		}
		sql += " WHEN MATCHED THEN UPDATE SET " + Join(sets, ", ")
	}
	return sql + " WHEN NOT MATCHED THEN INSERT (" + columns + ") VALUES (" + Join(taken, ", ") + ")"
}
