package overlay

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

// What a tunnel puts before a packet: the outer IP header, of 20 or 40 bytes, those of
// UDP (8) and VXLAN (8), and the inner Ethernet header (14) (RFC 7348 section 5).
const (
	overheadIPv4 = 50
	overheadIPv6 = 70
)

// maxMTU is the most that a device takes (ETH_MAX_MTU in linux/if_ether.h).
const maxMTU = 65535

// innerMTU returns the largest MTU that passes a tunnel from an address whose device
// has that MTU. It is the one place that knows of the overhead.
func innerMTU(underlay int, vtep netip.Addr) int {
	if vtep.Is4() {
		return min(underlay-overheadIPv4, maxMTU)
	}
	return min(underlay-overheadIPv6, maxMTU)
}

// errVTEP says that the host's own address is not known yet.
var errVTEP = errors.New("the address of this host for tunnels is not known yet; set CLUSTER_ADVERTISE, or make the cluster store reachable")

// vtep returns the host's own address.
func (d *Driver) vtep() (netip.Addr, error) {
	own := d.opts.VTEP()
	if !own.IsValid() {
		return netip.Addr{}, errVTEP
	}
	return own.Unmap(), nil
}

// FitMTU returns the MTU of a network on this host: the one that is asked for, if its
// packets pass the underlay, or for 0 the largest that does.
//
// The MTU of the device that has the host's address is taken for that of the way to
// the others. Where it is not, or the address is on loopback, the user has to say the
// network's.
func (d *Driver) FitMTU(asked int) (int, error) {
	own, err := d.vtep()
	if err != nil {
		return 0, err
	}
	carrier, err := d.dev.Carrier(own)
	if errors.Is(err, link.ErrNotFound) {
		return 0, fmt.Errorf("no device of this host has the address %s, from which it would send to the others; set CLUSTER_ADVERTISE to one that it has", own)
	}
	if err != nil {
		return 0, err
	}
	most := innerMTU(carrier.MTU, own)
	if asked > most {
		return 0, fmt.Errorf("%w %s=%d: %s, which has %s, takes packets of %d bytes, less %d for the tunnel are %d; ask for at most that",
			driver.ErrOption, driver.OptMTU, asked, carrier.Name, own, carrier.MTU, carrier.MTU-most, most)
	}
	if asked == 0 {
		return most, nil
	}
	return asked, nil
}
