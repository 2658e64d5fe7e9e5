package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	netapi "github.com/docker/go-plugins-helpers/network"

	"github.com/ournet/ournet/driver"
)

// optInterfaceName is how a container's interface shall be called (moby
// netlabel/labels.go, Ifname).
const optInterfaceName = endpointOptions + "ifname"

// createEndpointRequest is netapi's with raw options.
type createEndpointRequest struct {
	NetworkID  string
	EndpointID string
	Interface  *netapi.EndpointInterface
	Options    map[string]json.RawMessage
}

func parseEndpoint(req *createEndpointRequest) (driver.Endpoint, error) {
	nid, eid, err := parseIDs(req.NetworkID, req.EndpointID)
	if err != nil {
		return driver.Endpoint{}, err
	}
	if req.Interface == nil || (req.Interface.Address == "" && req.Interface.AddressIPv6 == "") {
		return driver.Endpoint{}, errors.New("the endpoint has no address")
	}
	ep := driver.Endpoint{ID: eid, Network: nid}
	if ep.Address, err = parseInterfaceAddr(req.Interface.Address, false); err != nil {
		return driver.Endpoint{}, err
	}
	if ep.AddressIPv6, err = parseInterfaceAddr(req.Interface.AddressIPv6, true); err != nil {
		return driver.Endpoint{}, err
	}
	if ep.MAC, err = parseMAC(req.Interface.MacAddress); err != nil {
		return driver.Endpoint{}, err
	}
	if ep.InterfaceName, err = parseInterfaceName(req.Options); err != nil {
		return driver.Endpoint{}, err
	}
	if ep.Bindings, err = parsePortMap(req.Options); err != nil {
		return driver.Endpoint{}, err
	}
	return ep, nil
}

// parseInterfaceName reads what `--driver-opt` says of the interface's name, if
// anything.
func parseInterfaceName(options map[string]json.RawMessage) (string, error) {
	raw, ok := options[optInterfaceName]
	if !ok {
		return "", nil
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return "", fmt.Errorf("%w: the value of %q is not a string", driver.ErrOption, optInterfaceName)
	}
	return name, driver.CheckInterfaceName(name)
}

// parseInterfaceAddr reads an address that may be absent.
func parseInterfaceAddr(s string, want6 bool) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	p, err := parsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("endpoint address %q: %w", s, err)
	}
	if p.Addr().Is6() != want6 {
		return netip.Prefix{}, fmt.Errorf("endpoint address %s is of the other family", p)
	}
	return p, nil
}

// parseMAC reads a hardware address that may be absent, and refuses those that
// the kernel would refuse an interface.
func parseMAC(s string) (driver.MAC, error) {
	if s == "" {
		return driver.MAC{}, nil
	}
	mac, err := driver.ParseMAC(s)
	if err != nil {
		return driver.MAC{}, err
	}
	if mac.IsZero() || mac[0]&1 != 0 {
		// The lowest bit of the first byte marks a group (IEEE 802).
		return driver.MAC{}, fmt.Errorf("MAC address %q is not the address of one interface", s)
	}
	return mac, nil
}
