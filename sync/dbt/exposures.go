package dbt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/tidegate/tidegate"
)

// Exposed is one sync as dbt's lineage shows it.
type Exposed struct {
	Sync tidegate.Sync
	Kind string // of the destination: hubspot
	URL  string // where the sync can be looked at; may be empty
	// Models are the dbt models that the sync reads, by unique_id.
	Models []string
}

// exposuresHeader marks the file as ours: nothing else is ever written over.
const exposuresHeader = "# Written by Tidegate: the syncs that read this project's models. Do not edit.\n"

type exposureFile struct {
	Version   int              `yaml:"version"`
	Exposures []exposureOfSync `yaml:"exposures"`
}

type exposureOfSync struct {
	Name        string          `yaml:"name"`
	Label       string          `yaml:"label"`
	Type        string          `yaml:"type"`
	URL         string          `yaml:"url,omitempty"`
	Description string          `yaml:"description"`
	Owner       exposureOwner   `yaml:"owner"`
	DependsOn   []string        `yaml:"depends_on"`
	Config      *exposureConfig `yaml:"config,omitempty"`
	Meta        *exposureMeta   `yaml:"meta,omitempty"`
}

type exposureConfig struct {
	Meta *exposureMeta `yaml:"meta"`
}

type exposureMeta struct {
	Tidegate exposureDetails `yaml:"tidegate"`
}

type exposureDetails struct {
	Sync        string   `yaml:"sync"`
	Destination string   `yaml:"destination"`
	Kind        string   `yaml:"kind"`
	Object      string   `yaml:"object"`
	Mode        string   `yaml:"mode"`
	Fields      []string `yaml:"fields"`
}

type exposureOwner struct {
	Name  string `yaml:"name"`
	Email string `yaml:"email,omitempty"`
}

// Exposures returns the text of an exposures file: one exposure of type
// application a sync, sorted by name. It depends on its arguments only. The
// owner is the owner of the first model's group, Tidegate when there is none.
func (m *Manifest) Exposures(syncs []Exposed) ([]byte, error) {
	file := exposureFile{Version: 2, Exposures: []exposureOfSync{}}
	for _, s := range slices.SortedFunc(slices.Values(syncs), func(a, b Exposed) int { return cmp.Compare(a.Sync.Name, b.Sync.Name) }) {
		e := exposureOfSync{
			Name: "tidegate_" + s.Sync.Name, Label: s.Sync.Name + " → " + s.Sync.Destination + " " + s.Sync.Object, Type: "application", URL: s.URL,
			Description: fmt.Sprintf("Sync %s sends changed rows to %s of %s (%s).", s.Sync.Name, s.Sync.Object, s.Sync.Destination, s.Kind),
			Owner:       exposureOwner{Name: "Tidegate"},
		}
		for _, id := range slices.Sorted(slices.Values(s.Models)) {
			model := m.Models[id]
			if model == nil {
				continue
			}
			e.DependsOn = append(e.DependsOn, m.ref(model))
			if owner, ok := m.Groups[model.Group]; ok && e.Owner.Name == "Tidegate" && owner != (Owner{}) {
				e.Owner = exposureOwner{Name: cmp.Or(owner.Name, model.Group), Email: owner.Email}
			}
		}
		if len(e.DependsOn) == 0 {
			continue
		}
		meta := &exposureMeta{exposureDetails{Sync: s.Sync.Name, Destination: s.Sync.Destination, Kind: s.Kind, Object: s.Sync.Object, Mode: string(s.Sync.Mode), Fields: []string{}}}
		for _, f := range s.Sync.Mapping.Fields {
			meta.Tidegate.Fields = append(meta.Tidegate.Fields, f.Field)
		}
		if m.metaInConfig() {
			e.Config = &exposureConfig{meta}
		} else {
			e.Meta = meta
		}
		file.Exposures = append(file.Exposures, e)
	}
	body, err := yaml.MarshalWithOptions(file, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("writing exposures: %w", err)
	}
	return append([]byte(exposuresHeader), body...), nil
}

// metaInConfig says where this dbt wants meta: since 1.10 it warns when meta
// stands beside config.
func (m *Manifest) metaInConfig() bool {
	major, rest, _ := strings.Cut(m.Meta.DbtVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA != nil || errB != nil || a > 1 || a == 1 && b >= 10
}

func (m *Manifest) ref(model *Model) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "\\'") + "'" }
	out := "ref("
	if model.Package != "" && model.Package != m.Meta.Project {
		out += quote(model.Package) + ", "
	}
	out += quote(model.Name)
	if model.Version != "" {
		out += ", v=" + model.Version
	}
	return out + ")"
}

// WriteExposures writes text to path unless it is there already, whole or not
// at all, and says whether it did. A file that Tidegate has not written is left
// alone: a Halt fault with the code "dbt.exposures". Without exposures a file
// that is not there is not made.
func WriteExposures(path string, text []byte) (changed bool, err error) {
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if bytes.HasSuffix(text, []byte("exposures: []\n")) {
			return false, nil
		}
	case err != nil:
		return false, fmt.Errorf("reading the exposures: %w", err)
	case bytes.Equal(old, text):
		return false, nil
	case !bytes.HasPrefix(old, []byte(exposuresHeader)):
		return false, &tidegate.Fault{
			Action: tidegate.Halt, Code: "dbt.exposures", Subject: path, Message: "the file is there, and Tidegate has not written it",
			Hint: "name a file of its own in `exposures`, for example models/tidegate_exposures.yml",
		}
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".tidegate-exposures-*")
	if err != nil {
		return false, fmt.Errorf("writing the exposures: %w", err)
	}
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("writing the exposures: %w", err), os.Remove(temp.Name()))
	}
	return true, nil
}
