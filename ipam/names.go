package ipam

import (
	"net/netip"
	"slices"
)

// names tells which addresses a name has or had: first those that it gave back,
// in the order of that, then those that it has. It is seldom more than one.
type names map[string][]netip.Addr

// current returns the address that the name should get when it asks.
func (n names) current(name string) (netip.Addr, bool) {
	addrs := n[name]
	if len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[len(addrs)-1], true
}

// add puts addr at its place; isReleased tells which addresses were given back.
func (n names) add(name string, addr netip.Addr, isReleased func(netip.Addr) bool) {
	if name == "" {
		return
	}
	addrs := n[name]
	at := len(addrs)
	if isReleased(addr) {
		at = 0
		for at < len(addrs) && isReleased(addrs[at]) {
			at++
		}
	}
	n[name] = slices.Insert(addrs, at, addr)
}

func (n names) remove(name string, addr netip.Addr) {
	addrs := slices.DeleteFunc(n[name], func(a netip.Addr) bool { return a == addr })
	if len(addrs) == 0 {
		delete(n, name)
	} else {
		n[name] = addrs
	}
}
