package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// caller sends ARP requests for one address. It needs CAP_NET_RAW.
type caller struct {
	fd      int
	to      *unix.SockaddrLinklayer
	request []byte
}

// newCaller finds the interface that has a subnet with the address.
func newCaller(target netip.Addr) (*caller, error) {
	if !target.Is4() {
		return nil, fmt.Errorf("ARP is for IPv4, not %s", target)
	}
	link, self, err := linkTowards(target)
	if err != nil {
		return nil, err
	}
	const ethernet, request = 1, 1
	arp := binary.BigEndian.AppendUint16(nil, ethernet)
	arp = binary.BigEndian.AppendUint16(arp, unix.ETH_P_IP)
	arp = append(arp, byte(len(link.HardwareAddr)), byte(target.BitLen()/8))
	arp = binary.BigEndian.AppendUint16(arp, request)
	arp = append(append(arp, link.HardwareAddr...), self.AsSlice()...)
	arp = append(append(arp, make([]byte, len(link.HardwareAddr))...), target.AsSlice()...)
	// In the order of the network, as sockaddr_ll(7) wants it.
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // it receives nothing
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return &caller{fd: fd, request: arp, to: &unix.SockaddrLinklayer{
		Protocol: protocol, Ifindex: link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}}, nil
}

// call sends a request. The kernel sees the answer.
func (c *caller) call() error { return unix.Sendto(c.fd, c.request, 0, c.to) }

func (c *caller) close() error { return unix.Close(c.fd) }

func linkTowards(target netip.Addr) (net.Interface, netip.Addr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, netip.Addr{}, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			return net.Interface{}, netip.Addr{}, fmt.Errorf("list the addresses of %s: %w", l.Name, err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && len(l.HardwareAddr) == 6 && p.Contains(target) {
				return l, p.Addr(), nil
			}
		}
	}
	return net.Interface{}, netip.Addr{}, errors.New("no interface has a subnet with " + target.String())
}
