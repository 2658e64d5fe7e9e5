// Package link makes, lists, watches and removes the host's network devices.
//
// It owns the way to the kernel (netlink, retries, deadlines) and nothing else: no
// device belongs to it, and it knows neither networks nor endpoints. Every method
// says what should be and is idempotent, so that making and repairing are one call.
package link

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/hostfs"
)

var (
	// ErrNotFound says that there is no device of that name.
	ErrNotFound = errors.New("no such device")
	// ErrTaken says that a device of that name exists and is something else.
	ErrTaken = errors.New("device name is taken")
)

// timeout bounds each exchange with the kernel. It answers in microseconds, except
// when something holds its lock over all devices; a verb has 5 s in all.
const timeout = 3 * time.Second

// Handle reaches the devices of one network namespace. It is safe for concurrent
// use; requests go through one socket, as the kernel takes one at a time anyway.
type Handle struct {
	fs hostfs.FS
	nl *netlink.Handle
	// sockets is for requests that the library cannot make.
	sockets map[int]*nl.SocketHandle
	// control is a socket for name to index lookups (netdevice(7)), 20 times
	// cheaper than asking for the whole device.
	control int
}

// New opens a handle on the network namespace of the calling thread. The sysctls
// of bridges are written through fs.
func New(fs hostfs.FS) (*Handle, error) {
	h := &Handle{fs: fs}
	var err error
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := h.nl.SetSocketTimeout(timeout); err != nil {
		h.nl.Close()
		return nil, fmt.Errorf("set netlink timeout: %w", err)
	}
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.nl.Close()
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	h.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	if err := setUp(s); err != nil {
		h.nl.Close()
		s.Close()
		return nil, err
	}
	h.control, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		h.nl.Close()
		s.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return h, nil
}

// setUp bounds the socket's waits and asks for the kernel's error texts.
func setUp(s *nl.NetlinkSocket) error {
	tv := unix.NsecToTimeval(timeout.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&tv), s.SetReceiveTimeout(&tv), s.SetExtAck(true)); err != nil {
		return fmt.Errorf("set up netlink socket: %w", err)
	}
	return nil
}

// Close ends the handle; calls after it fail.
func (h *Handle) Close() error {
	h.nl.Close()
	for _, s := range h.sockets {
		s.Close()
	}
	if err := unix.Close(h.control); err != nil {
		return fmt.Errorf("close control socket: %w", err)
	}
	return nil
}

// Link is a device as the kernel has it.
type Link struct {
	Name  string
	Index int
	// Kind is "bridge", "veth", "vxlan" and so on; "device" for hardware.
	Kind string
	// Master is the name of the bridge that the device is a port of, "" for none.
	// [Handle.Link] does not tell it, for that is another question to the kernel.
	Master string
	// MasterIndex is the bridge's index, 0 for none.
	MasterIndex int
	// MTU in bytes.
	MTU int
	// MAC is the hardware address, nil where the kind of device has none.
	MAC net.HardwareAddr
	// Up is the administrative state.
	Up bool
	// Alias is the free text that [Handle.SetAlias] sets.
	Alias string
	// PeerIndex is the index of a veth's other end, in the namespace where that is.
	PeerIndex int
	// PeerElsewhere says that the other end is in another network namespace.
	PeerElsewhere bool
}

func fromNetlink(l netlink.Link) Link {
	a := l.Attrs()
	return Link{
		Name: a.Name, Index: a.Index, Kind: l.Type(), MasterIndex: a.MasterIndex, MTU: a.MTU, MAC: a.HardwareAddr,
		Up: a.RawFlags&unix.IFF_UP != 0, Alias: a.Alias, PeerIndex: a.ParentIndex, PeerElsewhere: a.NetNsID >= 0,
	}
}

// Links returns all devices of the namespace.
func (h *Handle) Links() ([]Link, error) {
	list, err := retry(h.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	links := make([]Link, len(list))
	names := make(map[int]string, len(list))
	for i, l := range list {
		links[i] = fromNetlink(l)
		names[links[i].Index] = links[i].Name
	}
	for i := range links {
		links[i].Master = names[links[i].MasterIndex]
	}
	return links, nil
}

// Link returns the device of that name, or an error that wraps [ErrNotFound].
func (h *Handle) Link(name string) (Link, error) {
	l, err := retry(func() (netlink.Link, error) { return h.nl.LinkByName(name) })
	if err != nil {
		if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
			err = ErrNotFound
		}
		return Link{}, fmt.Errorf("find device %s: %w", name, err)
	}
	return fromNetlink(l), nil
}

// Delete removes a device; if there is none, that is fine. The other end of a veth
// goes with it, and a bridge lets go of its ports.
func (h *Handle) Delete(name string) error {
	req := h.request(unix.RTM_DELLINK, 0, &unix.IfInfomsg{}, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if err := execute(req); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete device %s: %w", name, err)
	}
	return nil
}

// SetAlias puts a text of up to 255 bytes on a device, by which its maker can know
// it again.
func (h *Handle) SetAlias(name, alias string) error {
	req := h.request(unix.RTM_SETLINK, 0, &unix.IfInfomsg{},
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	if err := notFound(execute(req)); err != nil {
		return fmt.Errorf("set alias of device %s: %w", name, err)
	}
	return nil
}

// index returns a device's index, or an error that wraps [ErrNotFound].
func (h *Handle) index(name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("device name %q: %w", name, err)
	}
	if err := notFound(unix.IoctlIfreq(h.control, unix.SIOCGIFINDEX, ifr)); err != nil {
		return 0, fmt.Errorf("find device %s: %w", name, err)
	}
	return int(ifr.Uint32()), nil
}

func notFound(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return ErrNotFound
	}
	return err
}
