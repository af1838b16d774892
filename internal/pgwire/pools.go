package pgwire

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidegate/tidegate/internal/secret"
)

// Speech is what differs between the servers that speak this protocol.
type Speech struct {
	Classify Classify
	// AppendArg writes a parameter of a statement (see Args).
	AppendArg func(dst []byte, arg any) ([]byte, error)
	// Columns describes a result.
	Columns func([]pgconn.FieldDescription) Columns
}

// Account is a role and its password.
type Account struct {
	User     string
	Password secret.Secret
}

// Pools are the connections of a warehouse: those of the role that writes, and those of the
// role of queries, which may be the same.
type Pools struct {
	Write, Read    *pgxpool.Pool
	Writer, Reader string // roles

	speech  Speech
	tunnel  *Tunnel
	closing sync.Once
	err     error
}

// Open makes the pools, and has greet look at what a connection of each reaches. Without a user read is write.
func Open(ctx context.Context, cfg Server, tunnel *SSH, write, read Account, speech Speech, greet func(context.Context, *Session) error) (_ *Pools, err error) {
	p := &Pools{Writer: write.User, Reader: write.User, speech: speech}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if tunnel != nil {
		if p.tunnel, err = NewTunnel(*tunnel); err != nil {
			return nil, err
		}
		cfg.Dial = p.tunnel.Dial
	}
	if p.Write, err = Pool(ctx, cfg, write.User, write.Password); err != nil {
		return nil, err
	}
	p.Read = p.Write
	if read.User != "" {
		p.Reader = read.User
		if p.Read, err = Pool(ctx, cfg, read.User, read.Password); err != nil {
			return nil, err
		}
	}
	for _, pool := range []*pgxpool.Pool{p.Write, p.Read} {
		if err := p.greet(ctx, pool, greet); err != nil {
			return nil, fmt.Errorf("opening the warehouse: %w", err)
		}
	}
	return p, nil
}

func (p *Pools) greet(ctx context.Context, pool *pgxpool.Pool, greet func(context.Context, *Session) error) error {
	s, err := p.Session(ctx, pool)
	if err != nil && pool != p.Write {
		return ofReader(err)
	}
	if err != nil {
		return err
	}
	defer s.End()
	return greet(ctx, s)
}

// Session takes a connection of one of the pools.
func (p *Pools) Session(ctx context.Context, of *pgxpool.Pool) (*Session, error) {
	user := p.Writer
	if of == p.Read {
		user = p.Reader
	}
	c, err := of.Acquire(ctx)
	if err != nil {
		return nil, connectError(ctx, err, p.speech.Classify)
	}
	return &Session{PG: c.Conn().PgConn(), User: user, conn: c, speech: p.speech}, nil
}

// Close waits for running calls, readers and transactions to end, and closes the connections.
func (p *Pools) Close() error {
	p.closing.Do(func() {
		if p.Write != nil {
			p.Write.Close()
		}
		if p.Read != nil && p.Read != p.Write {
			p.Read.Close()
		}
		if p.tunnel != nil {
			p.err = p.tunnel.Close()
		}
	})
	return p.err
}
