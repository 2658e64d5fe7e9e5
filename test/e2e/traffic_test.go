package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ournet/ournet/test/lab"
)

// reaches asserts that the container's ping to target, a name or an address, is
// answered.
func (h *host) reaches(container, target string) {
	h.Helper()
	if out, err := h.Docker(h.ctx, "exec", container, "ping", "-c", "1", "-W", "10", target); err != nil {
		h.Errorf("%s does not reach %s: %v\n%s", container, target, err, out)
	}
}

// reachesNot asserts that the container's ping to target is not answered.
func (h *host) reachesNot(container, target string) {
	h.Helper()
	if out, err := h.Docker(h.ctx, "exec", container, "ping", "-c", "1", "-W", "1", target); err == nil {
		h.Errorf("%s reaches %s, which it must not:\n%s", container, target, out)
	}
}

// badAddress asserts that the container cannot resolve the name.
func (h *host) badAddress(container, name string) {
	h.Helper()
	h.refuses("docker exec "+container+" ping -c 1 -W 1 "+name, "bad address")
}

// outside returns the address and port of the server outside.
func (h *host) outside() string {
	return net.JoinHostPort(h.lab.Outside.Address().String(), outsidePort)
}

// seenOutside returns the address that the server outside sees when the container
// calls it.
func (h *host) seenOutside(container, protocol string) string {
	h.Helper()
	return hostOf(h, h.docker("exec", container, "probe", "who", protocol, h.outside()))
}

// seenOutside6 is seenOutside by IPv6.
func (h *host) seenOutside6(container, protocol string) string {
	h.Helper()
	return hostOf(h, h.docker("exec", container, "probe", "who", protocol, h.outside6()))
}

// outside6 is outside by IPv6.
func (h *host) outside6() string {
	return net.JoinHostPort(h.lab.Outside.Address6().String(), outsidePort)
}

// hears asserts that the server at address answers the container's call, or does not.
func (h *host) hears(container, protocol, address string, want bool) {
	h.Helper()
	patience := map[bool]string{true: "10s", false: "1s"}[want]
	out, err := h.Docker(h.ctx, "exec", container, "probe", "who", "-timeout", patience, protocol, address)
	if (err == nil) != want {
		h.Errorf("%s calls %s by %s: %s (%v), want an answer: %t", container, address, protocol, out, err, want)
	}
}

// calledFromOutside returns the address that the server at address sees when the
// outside calls it. The server may be about to start.
func (h *host) calledFromOutside(protocol, address string) string {
	h.Helper()
	return h.called(h.lab.Outside, protocol, address)
}

// called is calledFromOutside for any machine.
func (h *host) called(from *lab.Machine, protocol, address string) string {
	h.Helper()
	probe, err := h.lab.Probe(h.ctx)
	if err != nil {
		h.Fatal(err)
	}
	var seen string
	ctx, cancel := context.WithTimeout(h.ctx, 20*time.Second)
	defer cancel()
	err = lab.Poll(ctx, "an answer of "+address, func() error {
		var err error
		seen, err = from.Exec(h.ctx, probe, "who", "-timeout", "1s", protocol, address)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return hostOf(h, seen)
}

// deaf asserts that nobody answers the machine's call to address.
func (h *host) deaf(from *lab.Machine, protocol, address string) {
	h.Helper()
	probe, err := h.lab.Probe(h.ctx)
	if err != nil {
		h.Fatal(err)
	}
	if seen, err := from.Exec(h.ctx, probe, "who", "-timeout", "1s", protocol, address); err == nil {
		h.Errorf("%s answers %s, which it must not (it saw %s)", address, from.Name, seen)
	}
}

// ownSubnet returns a subnet that no other host's test uses: the outside can have
// one route for each.
func (h *host) ownSubnet() string {
	return fmt.Sprintf("10.%d.0.0/24", 200+h.Address().As4()[3])
}

// ownSubnets returns further subnets, by number from 1 to 99, of IPv4 and IPv6.
func (h *host) ownSubnets(number int) (v4, v6 string) {
	n := 200 + h.Address().As4()[3]
	return fmt.Sprintf("10.%d.%d.0/24", n, number), fmt.Sprintf("fd00:%d:%d::/64", n, number)
}

// routeFromOutside lets the outside send to a subnet through the host, as a router
// with a static route would; it ends with the test.
func (h *host) routeFromOutside(subnet string) {
	h.Helper()
	via := h.Address().String()
	if strings.Contains(subnet, ":") {
		via = h.Address6().String()
	}
	argv := []string{"ip", "route", "replace", subnet, "via", via}
	if _, err := h.lab.Outside.Exec(h.ctx, argv...); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if _, err := h.lab.Outside.Exec(context.WithoutCancel(h.ctx), "ip", "route", "delete", subnet, "via", via); err != nil {
			h.Errorf("remove the route to %s: %v", subnet, err)
		}
	})
}

// hostOf returns the address of what probe printed, ADDRESS:PORT.
func hostOf(h *host, seen string) string {
	h.Helper()
	addr, _, err := net.SplitHostPort(strings.TrimSpace(seen))
	if err != nil {
		h.Fatalf("probe printed %q: %v", seen, err)
	}
	return addr
}
