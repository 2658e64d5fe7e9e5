package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The kernel's numbers for what a dump of flows is limited to (CTA_FILTER in
// linux/netfilter/nfnetlink_conntrack.h, its flags in net/netfilter/nf_internals.h).
// Since Linux 5.8; an older kernel passes over them and lists every flow.
const (
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2

	filterSrc      = 1 << 0
	filterProtocol = 1 << 3
	filterDstPort  = 1 << 5
)

// ctSubsystem is the subsystem of connection tracking in a message's type.
const ctSubsystem = unix.NFNL_SUBSYS_CTNETLINK << 8

// tuple is one direction of a flow.
type tuple struct {
	protocol uint8
	src, dst netip.AddrPort
}

// flow is what the kernel remembers of packets that belong together.
type flow struct {
	orig, reply tuple
	// raw is the kernel's message, which also names the flow to it.
	raw []byte
}

// flowQuery limits a dump: to flows whose original direction has that protocol and,
// unless 0, that destination port, or whose original or reply direction has that
// source.
type flowQuery struct {
	is4      bool
	protocol uint8
	port     uint16
	from     netip.Addr // source of the original direction
	answerOf netip.Addr // source of the reply direction
}

// conntrack is a socket for one piece of work on flows: dumps of many flows shall not
// be in the way of others.
type conntrack struct{ sockets map[int]*nl.SocketHandle }

func openConntrack() (*conntrack, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	if err := setUp(s); err != nil {
		s.Close()
		return nil, err
	}
	return &conntrack{map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s}}}, nil
}

func (c *conntrack) close() {
	for _, s := range c.sockets {
		s.Close()
	}
}

// forget removes the flows of a query for which match is true.
func (c *conntrack) forget(q flowQuery, match func(flow) bool) error {
	flows, err := retry(func() ([][]byte, error) {
		return c.request(q.family(), nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, q.attrs()).Execute(unix.NETLINK_NETFILTER, 0)
	})
	if err != nil {
		return fmt.Errorf("list flows: %w", err)
	}
	var errs []error
	for _, raw := range flows {
		f, ok := parseFlow(raw)
		if !ok || !match(f) {
			continue
		}
		req := c.request(q.family(), nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, nil)
		req.AddRawData(raw[nl.SizeofNfgenmsg:])
		_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("forget the flow of %s to %s: %w", f.orig.src, f.orig.dst, err))
		}
	}
	return errors.Join(errs...)
}

func (c *conntrack) request(family uint8, kind, flags int, attrs []*nl.RtAttr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(ctSubsystem|kind, flags)
	req.Sockets = c.sockets
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

func (q flowQuery) family() uint8 {
	if q.is4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// attrs returns the query in the kernel's form: the parts of a tuple, and which of
// them count.
func (q flowQuery) attrs() []*nl.RtAttr {
	tupleKind, flagsKind, flags := nl.CTA_TUPLE_ORIG, ctaFilterOrigFlags, uint32(0)
	if q.answerOf.IsValid() {
		tupleKind, flagsKind = nl.CTA_TUPLE_REPLY, ctaFilterReplyFlags
	}
	parts := nl.NewRtAttr(tupleKind|unix.NLA_F_NESTED, nil)
	for _, src := range []netip.Addr{q.from, q.answerOf} {
		if !src.IsValid() {
			continue
		}
		kind := nl.CTA_IP_V6_SRC
		if src.Is4() {
			kind = nl.CTA_IP_V4_SRC
		}
		parts.AddRtAttr(nl.CTA_TUPLE_IP|unix.NLA_F_NESTED, nil).AddRtAttr(kind, src.AsSlice())
		flags |= filterSrc
	}
	if q.protocol != 0 {
		proto := parts.AddRtAttr(nl.CTA_TUPLE_PROTO|unix.NLA_F_NESTED, nil)
		proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{q.protocol})
		flags |= filterProtocol
		if q.port != 0 {
			proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, q.port))
			flags |= filterDstPort
		}
	}
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	filter.AddRtAttr(flagsKind, nl.Uint32Attr(flags))
	return []*nl.RtAttr{parts, filter}
}

// parseFlow reads a message of the kernel; it is false for what is none.
func parseFlow(raw []byte) (flow, bool) {
	if len(raw) < nl.SizeofNfgenmsg {
		return flow{}, false
	}
	f := flow{raw: raw}
	for kind, value := range attributes(raw[nl.SizeofNfgenmsg:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			f.orig = parseTuple(value)
		case nl.CTA_TUPLE_REPLY:
			f.reply = parseTuple(value)
		}
	}
	return f, f.orig.src.IsValid() && f.reply.src.IsValid()
}

func parseTuple(raw []byte) tuple {
	var (
		t                tuple
		src, dst         netip.Addr
		srcPort, dstPort uint16
	)
	for kind, value := range attributes(raw) {
		for part, v := range attributes(value) {
			switch {
			case kind == nl.CTA_TUPLE_IP && (part == nl.CTA_IP_V4_SRC || part == nl.CTA_IP_V6_SRC):
				src, _ = netip.AddrFromSlice(v) // not valid is not matched
			case kind == nl.CTA_TUPLE_IP && (part == nl.CTA_IP_V4_DST || part == nl.CTA_IP_V6_DST):
				dst, _ = netip.AddrFromSlice(v) // likewise
			case kind == nl.CTA_TUPLE_PROTO && part == nl.CTA_PROTO_NUM && len(v) == 1:
				t.protocol = v[0]
			case kind == nl.CTA_TUPLE_PROTO && part == nl.CTA_PROTO_SRC_PORT && len(v) == 2:
				srcPort = binary.BigEndian.Uint16(v)
			case kind == nl.CTA_TUPLE_PROTO && part == nl.CTA_PROTO_DST_PORT && len(v) == 2:
				dstPort = binary.BigEndian.Uint16(v)
			}
		}
	}
	if src.IsValid() && dst.IsValid() {
		t.src, t.dst = netip.AddrPortFrom(src, srcPort), netip.AddrPortFrom(dst, dstPort)
	}
	return t
}

// attributes yields the netlink attributes in raw, by their kind.
func attributes(raw []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(raw) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(raw))
			kind := binary.NativeEndian.Uint16(raw[2:]) & ^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)
			if length < unix.SizeofNlAttr || length > len(raw) || !yield(kind, raw[unix.SizeofNlAttr:length]) {
				return
			}
			raw = raw[min(len(raw), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}
