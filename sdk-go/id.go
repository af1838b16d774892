package analytics

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
)

// entropy hands out random bytes from a block, because asking the system for
// sixteen at a time costs more than encoding a message.
type entropy struct {
	mu    sync.Mutex
	block [2048]byte
	used  int
}

func newEntropy() (*entropy, error) {
	e := &entropy{}
	if err := e.fill(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *entropy) fill() error {
	if _, err := rand.Read(e.block[:]); err != nil {
		return fmt.Errorf("reading random bytes: %w", err)
	}
	e.used = 0
	return nil
}

// take fills dst, at most a block.
func (e *entropy) take(dst []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.used+len(dst) > len(e.block) {
		if err := e.fill(); err != nil {
			return err
		}
	}
	copy(dst, e.block[e.used:])
	clear(e.block[e.used : e.used+len(dst)])
	e.used += len(dst)
	return nil
}

// fraction returns a number in [0,1).
func (e *entropy) fraction() float64 {
	var b [8]byte
	if e.take(b[:]) != nil {
		return 0.5 // jitter is a courtesy, not a promise
	}
	return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
}

// appendUUID appends a random UUID (version 4).
func (e *entropy) appendUUID(dst []byte) ([]byte, error) {
	var b [16]byte
	if err := e.take(b[:]); err != nil {
		return dst, err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...), nil
}
