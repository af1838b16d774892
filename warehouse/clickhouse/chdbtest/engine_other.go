//go:build !linux && !darwin

package chdbtest

import "errors"

type engine struct{}

type conn struct{}

var errPlatform = errors.New("the engine is not had for this platform")

func loadEngine(string) (*engine, error)                             { return nil, errPlatform }
func (*engine) open(string) (*conn, error)                           { return nil, errPlatform }
func (*conn) close()                                                 {}
func (*conn) exec(string, string, map[string]string) ([]byte, error) { return nil, errPlatform }
func (*conn) each(string, string, map[string]string, func([]byte) bool) error {
	return errPlatform
}
func (*conn) load(string, string, func() ([]byte, error)) (uint64, error) { return 0, errPlatform }
