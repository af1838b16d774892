package clickhouse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
)

// What a block may hold at most; a server sends blocks of 65,409 rows.
const (
	maxBlockColumns = 1 << 16
	maxBlockRows    = 1 << 26
	maxNameBytes    = 1 << 16
	maxCellBytes    = 1 << 30
)

var errBlock = errors.New("the server's answer is no block of rows")

// block is some rows of a result, column by column. Its memory is used again.
type block struct {
	rows    int
	columns []*vector
}

// vector is one column of a block.
type vector struct {
	column
	nulls []byte // one byte for each row; nil where the column takes none
	fixed []byte // values of fixed width
	text  string // values of texts, end to end
	ends  []int  // where each text ends
	clean bool   // every text is valid UTF-8 without NUL
	arena []byte // memory of text before it is a string

	// Of a column of low cardinality: the values of the block and the place of each row's among them.
	values []any
	places []uint32
	list   *vector
}

// readBlock reads the next block into b; io.EOF at the end of the result.
func readBlock(r *bufio.Reader, b *block) error {
	if _, err := r.Peek(1); err != nil {
		return err //nolint:wrapcheck // io.EOF is what the caller looks for
	}
	columns, err := count(r, maxBlockColumns)
	if err != nil {
		return err
	}
	if b.rows, err = count(r, maxBlockRows); err != nil {
		return err
	}
	if b.columns == nil {
		b.columns = make([]*vector, columns)
	} else if len(b.columns) != columns {
		return errBlock
	}
	for i := range b.columns {
		if err := b.readColumn(r, i); err != nil {
			return err
		}
	}
	return nil
}

func (b *block) readColumn(r *bufio.Reader, i int) error {
	name, err := word(r)
	if err != nil {
		return err
	}
	engine, err := word(r)
	if err != nil {
		return err
	}
	v := b.columns[i]
	if v == nil {
		v = &vector{column: parseColumn(name, engine)}
		b.columns[i] = v
	} else if v.name != name || v.engine != engine {
		return errBlock
	}
	if b.rows == 0 {
		return nil
	}
	if v.shape == shapeNone {
		return errForeign
	}
	return v.read(r, b.rows)
}

// errForeign says that a result has a column whose type is not read as it is.
var errForeign = errors.New("the result has a type that must be converted")

func (v *vector) read(r *bufio.Reader, rows int) (err error) {
	if v.low {
		return v.readLow(r, rows)
	}
	if v.nullable {
		if v.nulls, err = fill(r, v.nulls, rows); err != nil {
			return err
		}
	}
	if v.shape != shapeString {
		v.fixed, err = fill(r, v.fixed, rows*v.width)
		return err
	}
	v.arena, v.ends, v.clean = v.arena[:0], v.ends[:0], true
	for range rows {
		n, err := count(r, maxCellBytes)
		if err != nil {
			return err
		}
		from := len(v.arena)
		if v.arena, err = more(r, v.arena, n); err != nil {
			return err
		}
		if n > 0 && !utf8.RuneStart(v.arena[from]) {
			v.clean = false // a part of a character, which could hide behind the text before it
		}
		v.ends = append(v.ends, len(v.arena))
	}
	v.text = string(v.arena)
	v.clean = v.clean && utf8.ValidString(v.text) && strings.IndexByte(v.text, 0) < 0
	return nil
}

// Flags of a column of low cardinality, above the width of its places.
const (
	lowVersion  = 1
	lowWidth    = 0xff
	lowForeign  = 0x100 // the values are in another block
	lowOwn      = 0x200 // the values are here
	maxPlaceLog = 3
)

// readLow reads a list of values and the place of each row's value in it. Where
// the column takes NULL that is the first of the list.
func (v *vector) readLow(r *bufio.Reader, rows int) error {
	var head [3]uint64
	for i := range head {
		n, err := word64(r)
		if err != nil {
			return err
		}
		head[i] = n
	}
	version, flags, n := head[0], head[1], head[2]
	width := flags & lowWidth
	if version != lowVersion || flags&lowForeign != 0 || flags&lowOwn == 0 || width > maxPlaceLog || n > maxBlockRows {
		return errBlock
	}
	if v.list == nil {
		v.list = &vector{column: v.column}
		v.list.low, v.list.nullable = false, false
	}
	if err := v.list.read(r, int(n)); err != nil {
		return err
	}
	count, err := word64(r)
	if err != nil {
		return err
	}
	if count != uint64(rows) {
		return errBlock
	}
	if v.fixed, err = fill(r, v.fixed, rows<<width); err != nil {
		return err
	}
	return v.lookUp(int(n), rows, 1<<width)
}

// lookUp makes the list's values, once for all their rows.
func (v *vector) lookUp(n, rows, width int) error {
	v.values, v.places = v.values[:0], v.places[:0]
	for i := range n {
		if i == 0 && v.nullable {
			v.values = append(v.values, nil)
			continue
		}
		value, err := v.list.cell(i)
		if err != nil {
			value = err // told when a row has it
		}
		v.values = append(v.values, value)
	}
	for i := range rows {
		var place uint64
		for j := width - 1; j >= 0; j-- {
			place = place<<8 | uint64(v.fixed[i*width+j])
		}
		if place >= uint64(n) {
			return errBlock
		}
		v.places = append(v.places, uint32(place))
	}
	return nil
}

func word64(r io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, cut(err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// fill reads n bytes into the memory of buf.
func fill(r io.Reader, buf []byte, n int) ([]byte, error) { return more(r, buf[:0], n) }

// more appends n bytes to buf, which grows as they come and not as was promised.
func more(r io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		part := min(n, step)
		from := len(buf)
		if cap(buf)-from < part {
			grown := make([]byte, from, max(2*cap(buf), from+part, 256))
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:from+part]
		if _, err := io.ReadFull(r, buf[from:]); err != nil {
			return buf[:from], cut(err)
		}
		n -= part
	}
	return buf, nil
}

// cut turns an end inside of a block into an error: it is no end of the rows (Invariant 6).
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func count(r *bufio.Reader, limit int) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, cut(err)
	}
	if n > uint64(limit) {
		return 0, errBlock
	}
	return int(n), nil
}

func word(r *bufio.Reader) (string, error) {
	n, err := count(r, maxNameBytes)
	if err != nil {
		return "", err
	}
	b, err := more(r, nil, n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", errBlock
	}
	return string(b), nil
}

var (
	errNotUTF8  = errors.New("the text is not valid UTF-8")
	errNUL      = errors.New("the text holds a NUL character")
	errNotJSON  = errors.New("the text is not valid JSON")
	errTimeSpan = errors.New("the time lies outside of what the column holds")
	errIntSpan  = errors.New("the number lies outside of what the column holds")
)

// cell returns the value in row i as the nouns carry it.
func (v *vector) cell(i int) (any, error) {
	if v.low {
		value := v.values[v.places[i]]
		if err, ok := value.(error); ok {
			return nil, err
		}
		return value, nil
	}
	if v.nullable && v.nulls[i] != 0 {
		return nil, nil
	}
	raw := v.fixed
	if v.width > 0 {
		raw = v.fixed[i*v.width : (i+1)*v.width]
	}
	switch v.shape {
	case shapeBool:
		return raw[0] != 0, nil
	case shapeInt, shapeUint:
		return v.integer(raw)
	case shapeFloat:
		if v.width == 4 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), nil
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(raw)), nil
	case shapeDecimal:
		var text [44]byte
		return tidegate.DecimalText(appendDecimal(text[:0], units(raw), v.scale)), nil
	case shapeString:
		from := 0
		if i > 0 {
			from = v.ends[i-1]
		}
		return v.texts(v.text[from:v.ends[i]])
	case shapeDate:
		if v.width == 2 {
			return tidegate.CalendarDate(binary.LittleEndian.Uint16(raw)), nil
		}
		return tidegate.CalendarDate(int32(binary.LittleEndian.Uint32(raw))), nil
	case shapeTime:
		return v.time(raw), nil
	case shapeNone, shapeNothing:
	}
	return nil, nil
}

func (v *vector) texts(s string) (any, error) {
	if v.typ.Kind == tidegate.Bytes {
		return []byte(s), nil
	}
	if !v.clean {
		if err := checkString(s); err != nil {
			return nil, err
		}
	}
	if v.typ.Kind == tidegate.JSON {
		return tidegate.JSONText(s), nil
	}
	return s, nil
}

func (v *vector) integer(raw []byte) (any, error) {
	var n uint64
	switch v.width {
	case 1:
		n = uint64(raw[0])
	case 2:
		n = uint64(binary.LittleEndian.Uint16(raw))
	case 4:
		n = uint64(binary.LittleEndian.Uint32(raw))
	default:
		n = binary.LittleEndian.Uint64(raw)
	}
	if v.shape == shapeInt {
		shift := 64 - 8*v.width
		return int64(n<<shift) >> shift, nil
	}
	if n > math.MaxInt64 {
		return nil, errIntSpan
	}
	return int64(n), nil
}

func units(raw []byte) int128 {
	switch len(raw) {
	case 4:
		n := int64(int32(binary.LittleEndian.Uint32(raw)))
		return int128{uint64(n >> 63), uint64(n)}
	case 8:
		n := int64(binary.LittleEndian.Uint64(raw))
		return int128{uint64(n >> 63), uint64(n)}
	}
	return int128{binary.LittleEndian.Uint64(raw[8:]), binary.LittleEndian.Uint64(raw)}
}

// time is exact to the microsecond; what is finer is cut.
func (v *vector) time(raw []byte) time.Time {
	if v.width == 4 {
		return time.Unix(int64(binary.LittleEndian.Uint32(raw)), 0).UTC()
	}
	ticks := int64(binary.LittleEndian.Uint64(raw))
	scale := v.scale
	for ; scale > 6; scale-- {
		rest := ticks % 10
		ticks /= 10
		if rest < 0 {
			ticks--
		}
	}
	perSecond := int64(1)
	for range scale {
		perSecond *= 10
	}
	seconds, rest := ticks/perSecond, ticks%perSecond
	return time.Unix(seconds, rest*(1_000_000_000/perSecond)).UTC()
}

func checkString(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errNUL
	}
	if !utf8.ValidString(s) {
		return errNotUTF8
	}
	return nil
}
