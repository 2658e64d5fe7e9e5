package e2e

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// dialWithin connects from another network namespace.
func dialWithin(ctx context.Context, namespace, protocol, target string) (conn net.Conn, err error) {
	err = lab.Within(namespace, func() error {
		var err error
		conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, protocol, target)
		return err
	})
	return conn, err
}

// netInterface is an interface of a network namespace.
type netInterface struct {
	name, mac string
	addrs     []netip.Addr
}

// interfacesIn returns the interfaces that a network namespace has.
func interfacesIn(namespace string) (all []netInterface, err error) {
	err = lab.Within(namespace, func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, l := range links {
			one := netInterface{name: l.Name, mac: l.HardwareAddr.String()}
			addrs, err := l.Addrs()
			if err != nil {
				return err
			}
			for _, a := range addrs {
				prefix, err := netip.ParsePrefix(a.String())
				if err != nil {
					return err
				}
				one.addrs = append(one.addrs, prefix.Addr())
			}
			all = append(all, one)
		}
		return nil
	})
	return all, err
}
