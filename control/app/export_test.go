package app

import "context"

// Exec writes to the warehouse behind the hub's back.
func (h *Hub) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	return h.warehouse.Exec(ctx, sql, args...)
}
