package plugin

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/driver"
)

// parsePrefix reads an address with its prefix length, "10.0.0.1/24".
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("want an address and a prefix length, such as 10.0.0.0/24")
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("write it as IPv4, not as IPv4 in IPv6")
	}
	return p, nil
}

// parseAddr reads an address without a prefix length.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, errors.New("want an IP address, such as 10.0.0.1")
	}
	if a.Zone() != "" {
		return netip.Addr{}, errors.New("an address of a network has no zone")
	}
	return a.Unmap(), nil
}

// parseNetworkID and parseEndpointID refuse what cannot be a key or a device name.
func parseNetworkID(s string) (driver.NetworkID, error) {
	if !driver.ValidID(s) {
		return "", fmt.Errorf("network id %.80q is not 64 hexadecimal digits", s)
	}
	return driver.NetworkID(s), nil
}

func parseEndpointID(s string) (driver.EndpointID, error) {
	if !driver.ValidID(s) {
		return "", fmt.Errorf("endpoint id %.80q is not 64 hexadecimal digits", s)
	}
	return driver.EndpointID(s), nil
}

func parseIDs(network, endpoint string) (driver.NetworkID, driver.EndpointID, error) {
	nid, nerr := parseNetworkID(network)
	eid, eerr := parseEndpointID(endpoint)
	return nid, eid, errors.Join(nerr, eerr)
}
