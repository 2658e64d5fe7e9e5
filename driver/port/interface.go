package port

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/link"
)

// dstPrefix is what interfaces in a container are called, before their number.
const dstPrefix = "eth"

// finder finds devices.
type finder interface {
	Link(name string) (link.Link, error)
}

// Attachment says what the engine needs to know of an endpoint's interface, but for
// gateways.
//
// The engine would set any gateway that were named as the default route. With none
// it adds an interface on its docker_gwbridge, unless the network is internal
// (moby daemon/libnetwork/default_gateway.go, needDefaultGW).
func Attachment(n driver.Network, ep driver.Endpoint) driver.Attachment {
	return driver.Attachment{
		SrcName:   ContainerSide(ep.ID),
		DstPrefix: cmp.Or(n.Options.InterfacePrefix, dstPrefix),
		DstName:   ep.InterfaceName,
		OnLink:    n.OnLink(ep),
	}
}

// Inside says what the interface is in its sandbox, as far as we know what the engine
// did there: addresses of `--link-local-ip` and settings of `--driver-opt
// com.docker.network.endpoint.sysctls` it does not tell. Nor does it tell whether it
// knows of names that are asked for: one before 28 does not.
func Inside(ep driver.Endpoint, att driver.Attachment) link.Inside {
	in := link.Inside{Sandbox: ep.SandboxKey, Name: att.DstName, Prefix: att.DstPrefix, OnLink: att.OnLink}
	for _, p := range []netip.Prefix{ep.Address, ep.AddressIPv6} {
		if p.IsValid() {
			in.Addrs = append(in.Addrs, p)
		}
	}
	for _, gw := range []netip.Addr{att.Gateway, att.GatewayIPv6} {
		if gw.IsValid() {
			in.Gateways = append(in.Gateways, gw)
		}
	}
	return in
}

// Attached reports whether the endpoint's interface is there, be it in a sandbox or
// still on the host.
func Attached(devices finder, ep driver.Endpoint) (bool, error) {
	_, err := devices.Link(HostSide(ep.ID))
	if errors.Is(err, link.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Intact reports whether the endpoint's interface is up and a port of the bridge, if
// it is one of changed.
func Intact(devices finder, bridge string, ep driver.Endpoint, changed []string) (bool, error) {
	if !slices.Contains(changed, HostSide(ep.ID)) {
		return true, nil
	}
	port, err := devices.Link(HostSide(ep.ID))
	if errors.Is(err, link.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	master, err := devices.Link(bridge)
	if errors.Is(err, link.ErrNotFound) {
		return false, nil
	}
	return err == nil && port.Up && port.MasterIndex == master.Index, err
}

// Source says what an endpoint's container may send. It is not ok where that is
// not to be checked: the user said so, or the interface has whatever MAC address the
// kernel gave it.
func Source(n driver.Network, ep driver.Endpoint) (src firewall.Source, ok bool) {
	if n.Options.AllowSpoofing || ep.MAC.IsZero() {
		return firewall.Source{}, false
	}
	return firewall.Source{Device: HostSide(ep.ID), MAC: ep.MAC, Addrs: ep.Addrs()}, true
}

// Sources returns those of all endpoints that have joined.
func Sources(want []driver.Attached) []firewall.Source {
	var all []firewall.Source
	for _, a := range want {
		for _, ep := range a.Endpoints {
			if src, ok := Source(a.Network, ep); ok && ep.SandboxKey != "" {
				all = append(all, src)
			}
		}
	}
	return all
}
