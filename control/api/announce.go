package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ServerFile is the file in the data folder by which programs on the same
// machine find the running server.
const ServerFile = "server.json"

// Announcement says where a running server is.
type Announcement struct {
	AdminURL  string    `json:"admin_url"`
	IngestURL string    `json:"ingest_url"`
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// DataFolder is where the server's data is: a copy of the folder holds this file too.
	DataFolder string `json:"data_folder,omitempty"`
}

// Announce writes the announcement into dataDir in one step and returns the
// function that takes it back; the server calls that when it ends. A server
// that was killed leaves its file behind: who reads it finds nobody at the address.
func Announce(dataDir string, a Announcement) (withdraw func() error, err error) {
	if a.DataFolder, err = filepath.Abs(dataDir); err != nil {
		return nil, fmt.Errorf("naming the data folder: %w", err)
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", ServerFile, err)
	}
	path := filepath.Join(dataDir, ServerFile)
	f, err := os.CreateTemp(dataDir, "."+ServerFile+"-*")
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return func() error {
		if now, err := Announced(dataDir); err != nil || now == nil || now.PID != a.PID || !now.StartedAt.Equal(a.StartedAt) {
			return err // another server has announced itself since
		}
		return os.Remove(path)
	}, nil
}

// Announced returns the announcement in dataDir, nil when there is none, or one of the folder
// of which dataDir is a copy.
func Announced(dataDir string) (*Announcement, error) {
	path := filepath.Join(dataDir, ServerFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	a := &Announcement{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	here, err := os.Stat(dataDir)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	// A path that is not there is the name of this folder in a container, or before it was moved.
	if there, err := os.Stat(a.DataFolder); err == nil && !os.SameFile(here, there) {
		return nil, nil //nolint:nilnil // documented
	}
	return a, nil
}
