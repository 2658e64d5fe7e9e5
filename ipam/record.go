package ipam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"time"
)

// recordVersion is the version of every value that this package writes.
const recordVersion = 1

// errNewer says that a value was written by a later version of ournet.
var errNewer = errors.New("written by a newer version of ournet")

// poolRecord is the durable form of a pool.
type poolRecord struct {
	Version int               `json:"v"`
	Subnet  netip.Prefix      `json:"subnet"`
	Range   netip.Prefix      `json:"range,omitzero"`
	Options map[string]string `json:"options,omitempty"`
	// Auto says that the subnet was chosen by us. Nobody who names it can mean
	// this pool.
	Auto    bool      `json:"auto,omitempty"`
	Created time.Time `json:"created"`
	// Gateway and Aux are the network's addresses on all hosts, of a pool that they
	// share.
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Aux     []netip.Addr `json:"aux,omitempty"`
}

// sameRequest reports whether both answer to the same request.
func (r poolRecord) sameRequest(o poolRecord) bool {
	return r.Subnet == o.Subnet && r.Range == o.Range && !r.Auto && !o.Auto && maps.Equal(r.Options, o.Options)
}

// kind says what a lease is for.
type kind string

const (
	// kindGateway is the network's gateway.
	kindGateway kind = "gateway"
	// kindReserved is an auxiliary address of the network (--aux-address).
	kindReserved kind = "reserved"
	// kindStatic is a container's, chosen by the user (--ip).
	kindStatic kind = "static"
	// kindDynamic is a container's, chosen by us.
	kindDynamic kind = "dynamic"
	// kindForeign is in memory only: a lease that this version cannot read. Its
	// address is nobody's to give.
	kindForeign kind = "foreign"
)

// leaseRecord is the durable form of a lease, and of the memory of one.
type leaseRecord struct {
	Version int    `json:"v"`
	Kind    kind   `json:"kind"`
	Name    string `json:"name,omitempty"`
	// Released is when the address was given back; zero while it is leased.
	Released time.Time `json:"released,omitzero"`
}

// ofNetwork reports whether the lease belongs to the network and not to a
// container; such leases live and die with the pool.
func (r leaseRecord) ofNetwork() bool { return r.Kind == kindGateway || r.Kind == kindReserved }

// ofContainer reports whether an endpoint can have the lease.
func (r leaseRecord) ofContainer() bool { return r.Kind == kindStatic || r.Kind == kindDynamic }

// remembered reports whether a released address is kept for its last holder, as
// far as possible: that of a known name, and one that the user chose.
func (r leaseRecord) remembered() bool {
	return !r.Released.IsZero() && (r.Name != "" || r.Kind == kindStatic)
}

// encode returns the stored form of r, which may be nil for "no record".
func (r *leaseRecord) encode() ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	stored := *r
	stored.Version = recordVersion
	return encode(stored)
}

func encode(record any) ([]byte, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return value, nil
}

func decodePool(subnet netip.Prefix, value []byte) (poolRecord, error) {
	var r poolRecord
	if err := decode(value, &r); err != nil {
		return poolRecord{}, err
	}
	if r.Subnet != subnet {
		return poolRecord{}, fmt.Errorf("subnet %s is not the %s of its key", r.Subnet, subnet)
	}
	if err := checkSubnet(r.Subnet, r.Subnet.Addr().Is6()); err != nil {
		return poolRecord{}, err
	}
	return r, checkRange(r.Range, r.Subnet)
}

func decodeLease(value []byte) (leaseRecord, error) {
	var r leaseRecord
	if err := decode(value, &r); err != nil {
		return leaseRecord{}, err
	}
	if !r.ofNetwork() && !r.ofContainer() {
		return leaseRecord{}, fmt.Errorf("unknown kind of lease %q", r.Kind)
	}
	if r.Name != cleanName(r.Name) {
		return leaseRecord{}, errors.New("name is not one that is remembered")
	}
	return r, nil
}

// decode is strict, but looks at the version first: what a later version wrote
// is [errNewer], whatever else is in it.
func decode(value []byte, record any) error {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	switch {
	case head.Version > recordVersion:
		return fmt.Errorf("version %d: %w", head.Version, errNewer)
	case head.Version != recordVersion:
		return fmt.Errorf("decode record: version %d", head.Version)
	}
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(record); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode record: more than one value")
	}
	return nil
}
