// Package model compiles a tidegate.Model against the warehouse: one read-only
// statement, its columns, its primary key and the tables that it reads.
//
// A compiled Model is immutable and safe for concurrent use. The package does
// not read rows, compare them or know destinations. Nothing about a model is
// guessed: a primary key column that is missing, or of a kind that cannot
// identify a row, is a Halt fault before any run (Invariant 6).
package model

import (
	"context"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/warehouse"
)

// The published limits of a model.
const (
	MaxColumns    = 512       // columns of the result
	MaxColumnName = 128       // bytes of a column's name
	MaxQueryChars = 65_535    // characters of the SQL text
	MaxRowBytes   = 512 << 10 // encoded bytes of one mapped row
	MaxValueBytes = 128 << 10 // encoded bytes of one value
)

// Model is a compiled model.
type Model struct {
	Name string
	// SQL is the statement to be read, without a trailing semicolon.
	SQL string
	// Schema is what the statement returns.
	Schema tidegate.Schema
	// PrimaryKey names the columns that identify a row, in key order.
	PrimaryKey []string
	// Tables are the tables that the statement reads; nil where the warehouse
	// cannot tell.
	Tables []warehouse.Table
}

// Compile checks def against wh. Problems are Halt faults with the codes
// "model.invalid", "model.query", "model.key" or "model.limit"; several
// problems come joined.
func Compile(ctx context.Context, wh warehouse.Warehouse, def tidegate.Model) (*Model, error) {
	return nil, nil
}
