package analytics

import "context"

// Identity is what a request knows of who acts: Client.EnqueueContext takes from
// it what a message leaves empty.
type Identity struct {
	UserId      string
	AnonymousId string
	Context     *Context
}

type identityKey struct{}

// WithIdentity returns a context that carries the identity. Fields that are empty
// keep the value that ctx has for them.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	before := IdentityFrom(ctx)
	fill(&id.UserId, before.UserId)
	fill(&id.AnonymousId, before.AnonymousId)
	id.Context = id.Context.over(before.Context)
	return context.WithValue(ctx, identityKey{}, id)
}

// WithUserId returns a context for a user who is known.
func WithUserId(ctx context.Context, id string) context.Context {
	return WithIdentity(ctx, Identity{UserId: id})
}

// WithAnonymousId returns a context for a visitor who is not known by name.
func WithAnonymousId(ctx context.Context, id string) context.Context {
	return WithIdentity(ctx, Identity{AnonymousId: id})
}

// IdentityFrom returns what ctx carries; it is empty when ctx carries nothing.
func IdentityFrom(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}
