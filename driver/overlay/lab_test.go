package overlay_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/driver/port"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/internal/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const udpPort = 4789

// lab is a network with hosts on it, and what they know of each other.
type lab struct {
	lan   *netnstest.Namespace
	ipv6  bool
	hosts []*host
	net   *driver.Network

	mu    sync.Mutex // guards peers
	peers map[int][]overlay.Peer
}

// host is a namespace with a driver in it.
type host struct {
	*overlay.Driver

	lab *lab
	num int // from 1
	ns  *netnstest.Namespace
	dev *link.Handle
	// records are what the driver is asked to reconcile.
	records []driver.Attached
}

// newLab makes hosts with the underlay's addresses 192.0.2.N or 2001:db8::N, and a
// network that is not made anywhere yet.
func newLab(t testing.TB, hosts int, ipv6 bool) *lab {
	t.Helper()
	l := &lab{lan: netnstest.New(t), ipv6: ipv6, peers: make(map[int][]overlay.Peer)}
	l.lan.Exec(t, "ip", "link", "add", "lan", "type", "bridge")
	l.lan.Exec(t, "ip", "link", "set", "lan", "up")
	for i := range hosts {
		h := &host{lab: l, num: i + 1, ns: netnstest.New(t)}
		l.plug(t, h.ns, fmt.Sprintf("h%d", h.num), h.vtep())
		h.boot(t)
		l.hosts = append(l.hosts, h)
	}
	n := l.network(1, "10.1.0.0/24", "10.1.1.0/24", "fd00:1::/64", "fd00:2::/64")
	l.net = &n
	return l
}

// plug joins a namespace to the underlay by its device eth0.
func (l *lab) plug(t testing.TB, ns *netnstest.Namespace, name string, addr netip.Addr) {
	t.Helper()
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	netnstest.Pair(t, ns, netnstest.Port{Name: "eth0", Addrs: []string{netip.PrefixFrom(addr, bits).String()}},
		l.lan, netnstest.Port{Name: name})
	l.lan.Exec(t, "ip", "link", "set", name, "master", "lan")
}

func (l *lab) underlay(i int) netip.Addr {
	if l.ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
}

func (l *lab) mtu() int {
	if l.ipv6 {
		return 1430
	}
	return 1450
}

func (l *lab) network(i int, pools ...string) driver.Network {
	n := driver.Network{
		ID:      driver.NetworkID(fmt.Sprintf("%012x%052d", i, 0)),
		Options: driver.DefaultOptions(),
		Overlay: &driver.Overlay{Cluster: fmt.Sprintf("net%d", i), VNI: 0x123400 + uint32(i), MTU: l.mtu()},
	}
	n.Options.Type = driver.TypeOverlay
	for _, p := range pools {
		n.Subnets = append(n.Subnets, driver.Subnet{Pool: netip.MustParsePrefix(p)})
	}
	return n
}

// vtep is the host's address; host 0 does not know it.
func (h *host) vtep() netip.Addr {
	if h.num == 0 {
		return netip.Addr{}
	}
	return h.lab.underlay(h.num)
}

// boot makes the driver, or that of the next process.
func (h *host) boot(t testing.TB) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	root := hostfs.New("/")
	h.ns.Run(t, func() (err error) {
		h.dev, err = link.New(root)
		return err
	})
	rules, err := firewall.New(log, root, firewall.Options{})
	must(t, err)
	h.Driver = overlay.New(log, "ournet", overlay.Kernel{Devices: h.dev, Rules: rules},
		overlay.Options{Port: udpPort, VTEP: h.vtep}, h)
	dev := h.dev
	t.Cleanup(func() { must(t, dev.Close()) })
}

// Peers, Members and VTEPs are what the host is told by the cluster.
func (h *host) Peers(string) []overlay.Peer {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	var all []overlay.Peer
	for num, peers := range h.lab.peers {
		if num != h.num {
			all = append(all, peers...)
		}
	}
	return all
}

func (h *host) Members(string) []netip.Addr {
	return slices.DeleteFunc(h.VTEPs(), func(a netip.Addr) bool { return a == h.vtep() })
}

func (h *host) VTEPs() []netip.Addr {
	var all []netip.Addr
	for i := range h.lab.hosts {
		all = append(all, h.lab.underlay(i+1))
	}
	return all
}

// up makes the lab's network on all hosts.
func (l *lab) up(t testing.TB) {
	t.Helper()
	for _, h := range l.hosts {
		h.ns.Run(t, func() error { return h.EnsureNetwork(t.Context(), *l.net) })
		h.records = []driver.Attached{{Network: *l.net}}
	}
}

// container is a namespace with an interface on the lab's network.
type container struct {
	*netnstest.Namespace

	host *host
	ep   driver.Endpoint
}

// start runs a container with those addresses, and tells the other hosts of it.
func (h *host) start(t *testing.T, num int, addrs ...string) *container {
	t.Helper()
	c := &container{Namespace: netnstest.New(t), host: h}
	c.ep = driver.Endpoint{
		ID: driver.EndpointID(fmt.Sprintf("%011x%053d", 0xe00+num, 0)), Network: h.lab.net.ID, SandboxKey: c.Path(),
	}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		if p.Addr().Is6() {
			c.ep.AddressIPv6 = p
		} else {
			c.ep.Address = p
		}
	}
	c.ep.MAC = driver.MACFromAddr(c.ep.Addrs()[0])
	var att driver.Attachment
	h.ns.Run(t, func() (err error) {
		att, err = h.Join(t.Context(), *h.lab.net, c.ep)
		return err
	})
	c.Take(t, h.ns, att.SrcName, netnstest.Port{Name: "eth0", Addrs: addrs})
	for _, dst := range att.OnLink {
		c.Exec(t, "ip", "route", "add", dst.String(), "dev", "eth0")
	}
	h.awaitPort(t, port.HostSide(c.ep.ID))
	h.records[0].Endpoints = append(h.records[0].Endpoints, c.ep)
	h.lab.announce(t, h, c.ep)
	return c
}

// awaitPort waits until a bridge forwards by a port. It learns of the other end's being
// up from a kernel worker, which may take its time (net/core/link_watch.c).
func (h *host) awaitPort(t *testing.T, name string) {
	t.Helper()
	for t.Context().Err() == nil {
		if strings.Contains(h.ns.Exec(t, "bridge", "link", "show", "dev", name), "state forwarding") {
			return
		}
	}
}

// announce tells the other hosts of an endpoint.
func (l *lab) announce(t *testing.T, of *host, ep driver.Endpoint) {
	t.Helper()
	l.mu.Lock()
	l.peers[of.num] = append(l.peers[of.num], overlay.Peer{Addrs: ep.Addrs(), MAC: ep.MAC, VTEP: of.vtep()})
	l.mu.Unlock()
	l.refresh(t, of)
}

// withdraw tells the other hosts that all endpoints of one are gone.
func (l *lab) withdraw(t *testing.T, of *host) {
	t.Helper()
	l.mu.Lock()
	delete(l.peers, of.num)
	l.mu.Unlock()
	l.refresh(t, of)
}

func (l *lab) refresh(t *testing.T, but *host) {
	t.Helper()
	for _, h := range l.hosts {
		if h != but {
			h.ns.Run(t, func() error { return h.Refresh(t.Context(), *l.net) })
		}
	}
}

// reconcile returns what a host repaired.
func (h *host) reconcile(t *testing.T) (repairs []string) {
	t.Helper()
	h.ns.Run(t, func() (err error) {
		repairs, err = h.Reconcile(t.Context(), h.records, nil)
		return err
	})
	return repairs
}

// reaches reports whether a ping arrives and its answer, with that many bytes that are
// not to be cut into pieces.
func (c *container) reaches(t *testing.T, target netip.Addr, size int) bool {
	t.Helper()
	_, err := c.TryExec(t, "ping", "-c", "1", "-w", "2", "-M", "do", "-s", strconv.Itoa(size), target.String())
	return err == nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
