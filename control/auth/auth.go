// Package auth decides who may do what on the admin surface.
//
// Invariants: a token is kept as its SHA-256 only and compared in constant time; a
// request without a live token has no permission but Public's; permissions are
// data (see Roles) and everything that is not granted is denied.
//
// It does not know routes: control/api declares one permission for each. It
// keeps no sessions, reads no cookies and starts no goroutine; a Keeper is safe
// for concurrent use.
package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/control/store"
	"github.com/tidegate/tidegate/internal/secret"
)

// Permission is what a route asks for.
type Permission string

// The permissions. Public needs no token; Observe is granted to processes on
// this machine too, so that a scraper needs no token.
const (
	Public  Permission = "public"
	Observe Permission = "observe"
	Read    Permission = "read"    // definitions, runs, status, rejections
	Query   Permission = "query"   // SQL, events
	Stream  Permission = "stream"  // the streams of the project
	Operate Permission = "operate" // run, approve, cancel, retry, lend the warehouse
	Edit    Permission = "edit"    // change definitions
	Admin   Permission = "admin"   // tokens, audit log
)

// Role is a named set of permissions.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"
	RoleAnalyst  Role = "analyst"
	RoleOperator Role = "operator"
	RoleEditor   Role = "editor"
	RoleAdmin    Role = "admin"
	// RoleStream reads streams and nothing else; `stream:NAME` reads that one.
	RoleStream Role = "stream"
)

// Roles returns the permissions of every role.
func Roles() map[Role][]Permission {
	return map[Role][]Permission{
		RoleViewer:   {Observe, Read},
		RoleAnalyst:  {Observe, Read, Query, Stream},
		RoleOperator: {Observe, Read, Query, Stream, Operate},
		RoleEditor:   {Observe, Read, Query, Stream, Operate, Edit},
		RoleAdmin:    {Observe, Read, Query, Stream, Operate, Edit, Admin},
		RoleStream:   {Stream},
	}
}

// Permissions lists every permission.
func Permissions() []Permission {
	return []Permission{Public, Observe, Read, Query, Stream, Operate, Edit, Admin}
}

// rolesWith lists the roles that have a permission, the least first.
func rolesWith(p Permission) string {
	all := Roles()
	var names []string
	for role, granted := range all {
		if slices.Contains(granted, p) {
			names = append(names, string(role))
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(all[Role(a)]), len(all[Role(b)])), strings.Compare(a, b))
	})
	return strings.Join(names, ", ")
}

// Identity is who makes a request.
type Identity struct {
	Name string // the token's name; empty when there was none
	Role Role
}

// May says whether the identity has the permission.
func (i Identity) May(p Permission) bool {
	role, _ := i.Role.split()
	return p == Public || slices.Contains(Roles()[role], p)
}

// MayStream says whether the identity may read the stream called name.
func (i Identity) MayStream(name string) bool {
	_, only := i.Role.split()
	return i.May(Stream) && (only == "" || only == name)
}

// split takes `stream:NAME` apart. Every other role is itself.
func (r Role) split() (role Role, stream string) {
	if name, ok := strings.CutPrefix(string(r), string(RoleStream)+":"); ok && name != "" {
		return RoleStream, name
	}
	return r, ""
}

// Tokens is where tokens are kept; *store.Workspace satisfies it.
type Tokens interface {
	TokenByHash(ctx context.Context, hash string) (store.Token, bool, error)
	AddToken(ctx context.Context, actor string, t store.Token) error
}

// Keeper checks tokens.
type Keeper struct {
	tokens Tokens
	now    func() time.Time
}

// New makes a Keeper.
func New(tokens Tokens, now func() time.Time) *Keeper { return &Keeper{tokens: tokens, now: now} }

// TokenFile is the name of the file in the data folder that holds the admin
// token for the CLI.
const TokenFile = "admin-token"

const tokenPrefix = "tgt_"

// EnsureAdmin makes sure that dataDir holds a token with the role admin that
// the keeper knows, making one at the first start. A token file that others
// can read is refused.
func (k *Keeper) EnsureAdmin(ctx context.Context, dataDir string) error {
	path := filepath.Join(dataDir, TokenFile)
	token, err := ReadTokenFile(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		if token, err = k.Issue(ctx, "tidegate", "admin-token file", RoleAdmin, time.Time{}); err != nil {
			return fmt.Errorf("making the admin token: %w", err)
		}
		return secret.WriteFile(path, secret.New(token+"\n"))
	}
	if err != nil {
		return err
	}
	hash := hashOf(token)
	known, ok, err := k.tokens.TokenByHash(ctx, hash)
	if err != nil {
		return fmt.Errorf("looking up the admin token: %w", err)
	}
	if ok && known.Live(k.now()) {
		return nil
	}
	if ok { // revoked or expired: the file is of no use any more
		if token, err = k.Issue(ctx, "tidegate", "admin-token file", RoleAdmin, time.Time{}); err != nil {
			return fmt.Errorf("making the admin token: %w", err)
		}
		return secret.WriteFile(path, secret.New(token+"\n"))
	}
	return k.add(ctx, "tidegate", "admin-token file", RoleAdmin, hash, time.Time{}) // the store is new, the file is not
}

// ReadTokenFile returns the admin token of a data folder.
func ReadTokenFile(dataDir string) (string, error) {
	path := filepath.Join(dataDir, TokenFile)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.token_file_open", Subject: path,
			Message: fmt.Sprintf("the admin token can be read by others (%v)", info.Mode().Perm()), Hint: "delete the file; a new token is made at the next start",
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < len(tokenPrefix)+26 {
		return "", &tidegate.Fault{Action: tidegate.Halt, Code: "auth.token_file_broken", Subject: path, Message: "the file holds no token", Hint: "delete it; a new token is made at the next start"}
	}
	return token, nil
}

// Issue makes a token and returns it; it is not shown again. A zero expires
// means that it does not expire.
func (k *Keeper) Issue(ctx context.Context, actor, name string, role Role, expires time.Time) (string, error) {
	if kind, _ := role.split(); Roles()[kind] == nil {
		return "", &tidegate.Fault{Action: tidegate.Halt, Code: "token.invalid", Subject: "role " + string(role), Message: "there is no such role", Hint: "known: admin, analyst, editor, operator, stream, stream:NAME, viewer"}
	}
	token := tokenPrefix + rand.Text() // 130 bits
	return token, k.add(ctx, actor, name, role, hashOf(token), expires)
}

func (k *Keeper) add(ctx context.Context, actor, name string, role Role, hash string, expires time.Time) error {
	return k.tokens.AddToken(ctx, actor, store.Token{ID: "tok_" + hash[:12], Name: name, Role: string(role), Hash: hash, ExpiresAt: expires})
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token)) // a fast hash is right for 130 random bits
	return hex.EncodeToString(sum[:])
}

// Identify tells who makes the request, from `Authorization: Bearer TOKEN`. A
// request without the header is nobody's, which is no error; a token that is
// not known or not live is the fault "auth.invalid_token".
func (k *Keeper) Identify(r *http.Request) (Identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Identity{}, nil
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, invalidToken()
	}
	hash := hashOf(strings.TrimSpace(token))
	t, ok, err := k.tokens.TokenByHash(r.Context(), hash)
	if err != nil {
		return Identity{}, fmt.Errorf("looking up the token: %w", err)
	}
	if !ok || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1 || !t.Live(k.now()) {
		return Identity{}, invalidToken()
	}
	return Identity{Name: t.Name, Role: Role(t.Role)}, nil
}

func invalidToken() error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "auth.invalid_token", Message: "the token is not known, or it was revoked or has expired",
		Hint: "send `Authorization: Bearer TOKEN`; the admin token stands in the file " + TokenFile + " of the server's data folder",
	}
}

// Allow returns nil when the request's maker has the permission, else a fault:
// "auth.required" for nobody, "auth.denied" for somebody.
func Allow(r *http.Request, who Identity, p Permission) error {
	switch {
	case who.May(p), p == Observe && fromThisMachine(r):
		return nil
	case who.Role == "":
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.required", Message: "this needs a token",
			Hint: "send `Authorization: Bearer TOKEN`; the admin token stands in the file " + TokenFile + " of the server's data folder",
		}
	default:
		return &tidegate.Fault{
			Action: tidegate.Halt, Code: "auth.denied", Subject: "token " + who.Name,
			Message: fmt.Sprintf("the role %s has not the permission %s", who.Role, p), Hint: "use a token of the role " + rolesWith(p),
		}
	}
}

// fromThisMachine says whether the request came straight from this machine: a
// loopback peer, no proxy between, and a name of this machine in Host (a
// browser page that had its name rebound to loopback sends its own name).
func fromThisMachine(r *http.Request) bool {
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
