package driver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// recordVersion is the version of the records that this code writes. Raise it
// when an older reader would misread what is written.
const recordVersion = 1

// errFutureVersion says that a record was written by a later version of ournet.
var errFutureVersion = errors.New("written by a later version of ournet")

type networkRecord struct {
	Version int
	Network Network
}

type endpointRecord struct {
	Version  int
	Endpoint Endpoint
}

// portsRecord is what the container with an address on a network had published last.
type portsRecord struct {
	Version int
	Network NetworkID
	Address netip.Addr
	// Number orders the records: a later one has a higher number.
	Number uint64
	Ports  []Binding
}

func encodePorts(r portsRecord) ([]byte, error) {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record of ports of %s: %w", r.Address, err)
	}
	return b, nil
}

func decodePorts(b []byte) (portsRecord, error) {
	var r portsRecord
	if err := decodeRecord(b, &r); err != nil {
		return portsRecord{}, err
	}
	if !ValidID(string(r.Network)) || !r.Address.IsValid() {
		return portsRecord{}, fmt.Errorf("network id %q is not 64 hexadecimal digits, or %q is no address", r.Network, r.Address)
	}
	return r, nil
}

func encodeNetwork(n Network) ([]byte, error) {
	b, err := json.Marshal(networkRecord{Version: recordVersion, Network: n})
	if err != nil {
		return nil, fmt.Errorf("encode record of network %s: %w", n.ID.Short(), err)
	}
	return b, nil
}

func decodeNetwork(b []byte) (Network, error) {
	var r networkRecord
	if err := decodeRecord(b, &r); err != nil {
		return Network{}, err
	}
	if !ValidID(string(r.Network.ID)) {
		return Network{}, fmt.Errorf("network id %q is not 64 hexadecimal digits", r.Network.ID)
	}
	return r.Network, nil
}

func encodeEndpoint(ep Endpoint) ([]byte, error) {
	b, err := json.Marshal(endpointRecord{Version: recordVersion, Endpoint: ep})
	if err != nil {
		return nil, fmt.Errorf("encode record of endpoint %s: %w", ep.ID.Short(), err)
	}
	return b, nil
}

func decodeEndpoint(b []byte) (Endpoint, error) {
	var r endpointRecord
	if err := decodeRecord(b, &r); err != nil {
		return Endpoint{}, err
	}
	if !ValidID(string(r.Endpoint.ID)) || !ValidID(string(r.Endpoint.Network)) {
		return Endpoint{}, fmt.Errorf("endpoint id %q or its network id %q is not 64 hexadecimal digits",
			r.Endpoint.ID, r.Endpoint.Network)
	}
	return r.Endpoint, nil
}

// decodeRecord reads the version alone first, so that a later version's fields
// are no error, then the whole value strictly.
func decodeRecord(b []byte, into any) error {
	var head struct{ Version int }
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if head.Version > recordVersion {
		return fmt.Errorf("record version %d: %w", head.Version, errFutureVersion)
	}
	if head.Version < 1 {
		return fmt.Errorf("decode record: version %d is unknown", head.Version)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode record: more data after its end")
	}
	return nil
}
