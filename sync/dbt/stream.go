package dbt

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// readObject reads one JSON object as a stream and hands the members that have
// a reader to it; the rest is skipped without being kept.
func readObject(r io.Reader, readers map[string]func(*jsontext.Decoder) error) error {
	d := jsontext.NewDecoder(&limited{r: r, left: MaxArtifactBytes}, tolerant)
	err := eachMember(d, func(name string, d *jsontext.Decoder) error {
		if read := readers[name]; read != nil {
			return read(d)
		}
		return d.SkipValue()
	})
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			return errors.New("something stands behind its end")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in the middle: dbt was writing it, or the copy is cut off")
	}
	return err
}

// eachMember calls use with each name of the object that comes next; use reads
// exactly the value. A null is an object without members.
func eachMember(d *jsontext.Decoder, use func(name string, d *jsontext.Decoder) error) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() == 'n' {
		return nil
	}
	if t.Kind() != '{' {
		return fmt.Errorf("an object must stand at byte %d", d.InputOffset())
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := use(name.String(), d); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// readObjectOf is eachMember for an object that is in memory.
func readObjectOf(v jsontext.Value, use func(name string, v jsontext.Value)) error {
	return eachMember(jsontext.NewDecoder(bytes.NewReader(v), tolerant), func(name string, d *jsontext.Decoder) error {
		inner, err := d.ReadValue()
		if err == nil {
			use(name, inner)
		}
		return err
	})
}

// limited ends with an error where io.LimitReader would end as if all were read.
type limited struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("it is longer than %d MiB", MaxArtifactBytes>>20)
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err //nolint:wrapcheck // io.EOF must stay itself
}

func (m *Metadata) read(d *jsontext.Decoder) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	var in loose[struct {
		SchemaVersion text `json:"dbt_schema_version"`
		DbtVersion    text `json:"dbt_version"`
		GeneratedAt   text `json:"generated_at"`
		InvocationID  text `json:"invocation_id"`
		Project       text `json:"project_name"`
		Adapter       text `json:"adapter_type"`
	}]
	_ = in.UnmarshalJSON(v) // never fails
	*m = Metadata{
		SchemaVersion: string(in.v.SchemaVersion), DbtVersion: string(in.v.DbtVersion), GeneratedAt: string(in.v.GeneratedAt),
		InvocationID: string(in.v.InvocationID), Project: string(in.v.Project), Adapter: string(in.v.Adapter),
	}
	return nil
}
