package driver

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ournet/ournet/internal/ttl"
)

// The least MTU of IPv4 (RFC 791), and the most that a Linux bridge takes.
const (
	minMTU = 68
	maxMTU = 65535
)

// maxDevice is how many bytes a device's name may have: IFNAMSIZ, 16, with the
// final zero. maxPrefix leaves room for a number behind it.
const (
	maxDevice = 15
	maxPrefix = 12
)

// maxVNI is the greatest VXLAN network identifier, of 24 bits (RFC 7348 section 5).
const maxVNI = 1<<24 - 1

func setType(o *Options, value string) error {
	if Type(value) != TypeBridge && Type(value) != TypeOverlay {
		return fmt.Errorf("the types of network are %q and %q", TypeBridge, TypeOverlay)
	}
	o.Type = Type(value)
	return nil
}

func setVNI(o *Options, value string) error {
	vni, err := strconv.ParseUint(value, 10, 32)
	if err != nil || vni == 0 || vni > maxVNI {
		return fmt.Errorf("want a VXLAN network identifier from 1 to %d; leave it out to get a free one", maxVNI)
	}
	o.VNI = uint32(vni)
	return nil
}

func setBridgeName(o *Options, value string) error {
	if !validDevice(value, maxDevice) {
		return fmt.Errorf("a device name has 1 to %d characters, without blanks, %q, %q and %q", maxDevice, "/", ":", "%")
	}
	o.BridgeName = value
	return nil
}

func setInterfacePrefix(o *Options, value string) error {
	if !validDevice(value, maxPrefix) {
		return fmt.Errorf("the start of a device name has 1 to %d characters, without blanks, %q, %q and %q", maxPrefix, "/", ":", "%")
	}
	o.InterfacePrefix = value
	return nil
}

// CheckInterfaceName reports why a container's interface cannot be called so.
func CheckInterfaceName(name string) error {
	if !validDevice(name, maxDevice) {
		return fmt.Errorf("%w: interface name %q: a device name has 1 to %d characters, without blanks, %q, %q and %q",
			ErrOption, name, maxDevice, "/", ":", "%")
	}
	return nil
}

// setTrusted reads the built-in bridge's form of a list. As there, empty names
// between two colons do not matter.
func setTrusted(o *Options, value string) error {
	o.TrustedInterfaces = nil
	for name := range strings.SplitSeq(value, ":") {
		if name == "" {
			continue
		}
		if !validDevice(name, maxDevice) {
			return fmt.Errorf("%q is no device name; want names of this host's devices with colons between them, like eth1:vxlan.1", name)
		}
		o.TrustedInterfaces = append(o.TrustedInterfaces, name)
	}
	return nil
}

// validDevice reports whether the kernel takes a name for a device: it refuses "/",
// ":" and white space (dev_valid_name in net/core/dev.c), and replaces "%d". Other
// bytes that cannot be seen are refused as well; some would not survive in a record.
func validDevice(name string, most int) bool {
	strange := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) }
	return name != "" && len(name) <= most && name != "." && name != ".." && !strings.ContainsFunc(name, strange)
}

// setHostBinding takes IPv6 addresses too: the key is named after what it could
// be at first.
func setHostBinding(o *Options, value string) error {
	addr, err := parseAddr(value)
	if err != nil || addr == netip.IPv6Loopback() {
		// IPv6 has nothing like route_localnet: answers to ::1 could not come back.
		return errors.New("want an address of this host other than ::1, or 0.0.0.0 for all")
	}
	o.HostBindingIPv4 = addr
	return nil
}

func setHostAddr(to *netip.Addr, value string, is6 bool) error {
	addr, err := parseAddr(value)
	if err != nil || addr.Is6() != is6 || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
		family := map[bool]string{false: "IPv4", true: "IPv6"}[is6]
		return fmt.Errorf("want the %s address that containers' packets leave this host with", family)
	}
	*to = addr
	return nil
}

func parseAddr(value string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(value)
	if err == nil && addr.Zone() != "" {
		return netip.Addr{}, errors.New("an address with a zone is not an address of one host")
	}
	return addr.Unmap(), err
}

func setMTU(o *Options, value string) error {
	mtu, err := strconv.Atoi(value)
	if err != nil || mtu < 0 || mtu > maxMTU || (mtu > 0 && mtu < minMTU) {
		return fmt.Errorf("want a number of bytes from %d to %d, or 0 for the default", minMTU, maxMTU)
	}
	o.MTU = mtu
	return nil
}

func setDNSTTL(o *Options, value string) error {
	d, err := ttl.Parse(value)
	if err != nil {
		return err
	}
	o.DNSTTL = &d
	return nil
}

func setSpoofCheck(o *Options, value string) error {
	check := true
	err := setBool(&check, value)
	o.AllowSpoofing = !check
	return err
}

func setBool(to *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("want true or false")
	}
	*to = b
	return nil
}

// leaveToEngine is for keys that the engine itself acts on, for networks of every
// driver; it checks them before we hear of them.
func leaveToEngine(*Options, string) error { return nil }
