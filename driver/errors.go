package driver

import "errors"

// Sentinel errors; test them with [errors.Is]. Their text is completed with
// names and a remedy where they are wrapped.
var (
	// ErrNotFound says that no such network or endpoint is known.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the id is taken by a network or endpoint that is not the same.
	ErrExists = errors.New("exists already with other settings")
	// ErrOverlap says that a subnet overlaps one that is in use.
	ErrOverlap = errors.New("subnet overlaps")
	// ErrInUse says that an address, a port or a name is taken.
	ErrInUse = errors.New("in use")
	// ErrOption says that an option is unknown or its value cannot be used.
	ErrOption = errors.New("invalid option")
)
