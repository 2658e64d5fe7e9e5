package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// recordVersion is that of every value this package writes. Raise it when an older
// reader would misread what is written.
const recordVersion = 1

// errFuture says that a value was written by a later version of ournet.
var errFuture = errors.New("written by a later version of ournet")

// envelope is the stored form of all values.
type envelope[T any] struct {
	Version int `json:"v"`
	Record  T   `json:"r"`
}

func encode[T any](record T) ([]byte, error) {
	b, err := json.Marshal(envelope[T]{Version: recordVersion, Record: record})
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return b, nil
}

// decode reads the version alone first, so that a later version's fields are no
// error, then the whole value strictly.
func decode[T interface{ check() error }](value []byte) (T, error) {
	var (
		none T
		head struct {
			Version int `json:"v"`
		}
		e envelope[T]
	)
	if err := json.Unmarshal(value, &head); err != nil {
		return none, fmt.Errorf("decode record: %w", err)
	}
	if head.Version > recordVersion {
		return none, fmt.Errorf("version %d: %w", head.Version, errFuture)
	}
	if head.Version != recordVersion {
		return none, fmt.Errorf("decode record: version %d is unknown", head.Version)
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return none, fmt.Errorf("decode record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return none, errors.New("decode record: more data after its end")
	}
	if err := e.Record.check(); err != nil {
		return none, fmt.Errorf("decode record: %w", err)
	}
	return e.Record, nil
}
