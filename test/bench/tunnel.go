package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
	"github.com/ournet/ournet/test/bench/iperf"
	"github.com/ournet/ournet/test/bench/stats"
	"github.com/ournet/ournet/test/lab"
)

// What carries the tunnels, on either pair of hosts.
const (
	tunnelPort = 4789
	tunnelVNI  = 4711
	tunnelMTU  = 1450
)

// tunnelPair is two hosts that are joined by a cable, each with a container on a
// network of both.
type tunnelPair struct{ hosts, containers [2]space }

func newTunnelPair(ctx context.Context) (p tunnelPair, err error) {
	for i := range 2 {
		if p.hosts[i], err = newSpace(ctx); err != nil {
			return p, err
		}
		if p.containers[i], err = newSpace(ctx); err != nil {
			return p, err
		}
	}
	if err := p.hosts[0].ip(ctx, "link add eth0 type veth peer name eth0 netns "+p.hosts[1].path()); err != nil {
		return p, err
	}
	for i, h := range p.hosts {
		if err := h.ip(ctx, fmt.Sprintf("address add %s/24 dev eth0", tunnelHost(i))); err != nil {
			return p, err
		}
		if err := h.ip(ctx, "link set eth0 up"); err != nil {
			return p, err
		}
		// As on a host with an engine, connections are tracked.
		for _, line := range []string{
			"add table ip nat", "add chain ip nat POSTROUTING { type nat hook postrouting priority 100 ; }",
			"add rule ip nat POSTROUTING ip saddr 172.17.0.0/16 oifname != docker0 masquerade",
		} {
			if _, err := lab.InNamespace(ctx, h.path(), append([]string{"nft"}, strings.Fields(line)...)...); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func tunnelHost(i int) netip.Addr      { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}) }
func tunnelContainer(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 0, byte(2 + i)}) }

// move gives a container its interface.
func (p tunnelPair) move(ctx context.Context, i int, device string) error {
	if err := p.hosts[i].ip(ctx, "link set "+device+" name eth0 netns "+p.containers[i].path()); err != nil {
		return err
	}
	if err := p.containers[i].ip(ctx, fmt.Sprintf("address add %s/24 dev eth0", tunnelContainer(i))); err != nil {
		return err
	}
	return p.containers[i].ip(ctx, "link set eth0 up")
}

// byHand is the network as one makes it with ip(8) alone.
func byHand(ctx context.Context) (tunnelPair, error) {
	p, err := newTunnelPair(ctx)
	if err != nil {
		return p, err
	}
	for i, h := range p.hosts {
		for _, line := range []string{
			"link add br0 mtu 1450 type bridge",
			fmt.Sprintf("link add vx0 mtu 1450 type vxlan id %d dstport %d local %s remote %s", tunnelVNI, tunnelPort, tunnelHost(i), tunnelHost(1-i)),
			"link add v0 mtu 1450 type veth peer name v1",
			"link set vx0 master br0 up", "link set v0 master br0 up", "link set br0 up", "link set v1 mtu 1450",
		} {
			if err := h.ip(ctx, line); err != nil {
				return p, err
			}
		}
		if err := p.move(ctx, i, "v1"); err != nil {
			return p, err
		}
	}
	return p, nil
}

// byDriver is the network as the overlay driver makes it.
func byDriver(ctx context.Context) (tunnelPair, error) {
	p, err := newTunnelPair(ctx)
	if err != nil {
		return p, err
	}
	n := driver.Network{
		ID: driver.NetworkID(strings.Repeat("b", 64)), Options: driver.DefaultOptions(),
		Subnets: []driver.Subnet{{Pool: netip.MustParsePrefix("10.1.0.0/24")}},
		Overlay: &driver.Overlay{Cluster: "bench", VNI: tunnelVNI, MTU: tunnelMTU},
	}
	n.Options.Type = driver.TypeOverlay
	for i, h := range p.hosts {
		ep := driver.Endpoint{
			ID: driver.EndpointID(strings.Repeat("e", 64)), Network: n.ID, SandboxKey: p.containers[i].path(),
			Address: netip.PrefixFrom(tunnelContainer(i), 24), MAC: driver.MACFromAddr(tunnelContainer(i)),
		}
		var att driver.Attachment
		err := h.do(func() (err error) {
			d, closeDriver, err := tunnelDriver(i)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeDriver()) }()
			if err := d.EnsureNetwork(ctx, n); err != nil {
				return err
			}
			att, err = d.Join(ctx, n, ep)
			return err
		})
		if err != nil {
			return p, err
		}
		if err := p.move(ctx, i, att.SrcName); err != nil {
			return p, err
		}
	}
	return p, nil
}

func tunnelDriver(i int) (*overlay.Driver, func() error, error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	root := hostfs.New("/")
	dev, err := link.New(root)
	if err != nil {
		return nil, nil, err
	}
	rules, err := firewall.New(log, root, firewall.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, dev.Close())
	}
	vtep := func() netip.Addr { return tunnelHost(i) }
	d := overlay.New(log, "ournet", overlay.Kernel{Devices: dev, Rules: rules}, overlay.Options{Port: tunnelPort, VTEP: vtep}, otherHost(1-i))
	return d, dev.Close, nil
}

// otherHost is all that a host knows: the other, with its container.
type otherHost int

func (o otherHost) Peers(string) []overlay.Peer {
	addr := tunnelContainer(int(o))
	return []overlay.Peer{{Addrs: []netip.Addr{addr}, MAC: driver.MACFromAddr(addr), VTEP: tunnelHost(int(o))}}
}

func (o otherHost) Members(string) []netip.Addr { return []netip.Addr{tunnelHost(int(o))} }

func (o otherHost) VTEPs() []netip.Addr { return []netip.Addr{tunnelHost(0), tunnelHost(1)} }

// tunnels is TCP from a container of one host to one of another, one for each way that
// the kernel may treat bridged packets.
type tunnels []tunnelResult

type tunnelResult struct {
	// Filtered says that br_netfilter sends bridged packets through the packet filter.
	Filtered bool       `json:"br_netfilter"`
	Driver   tunnelSide `json:"driver"`
	Hand     tunnelSide `json:"hand"`
}

type tunnelSide struct {
	Gbit []float64 `json:"gbit_per_s"`
	CPU  []float64 `json:"cpu_seconds_per_gbit"`
}

// measureTunnels sends one stream at a time, by the driver's network and by one that is
// made by hand, each on two hosts of its own: the rules of one are not in the way of
// the other.
func measureTunnels(ctx context.Context, rounds int) (t tunnels, err error) {
	if rounds == 0 {
		return nil, nil
	}
	for _, filtered := range []bool{false, true} {
		r, err := measureTunnel(ctx, rounds, filtered)
		if err != nil {
			return nil, err
		}
		t = append(t, r)
	}
	return t, nil
}

func measureTunnel(ctx context.Context, rounds int, filtered bool) (r tunnelResult, err error) {
	r.Filtered = filtered
	sides := []*tunnelSide{&r.Driver, &r.Hand}
	var pairs []tunnelPair
	for _, makePair := range []func(context.Context) (tunnelPair, error){byDriver, byHand} {
		p, err := makePair(ctx)
		if err != nil {
			return r, err
		}
		if err := p.filter(filtered); err != nil {
			return r, err
		}
		stop, err := iperf.Serve(func(argv ...string) (*lab.Running, error) {
			return lab.StartInNamespace(ctx, p.containers[1].path(), argv...)
		})
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, stop()) }()
		pairs = append(pairs, p)
	}
	dice := rand.New(rand.NewPCG(7, 8))
	for range rounds {
		for _, i := range dice.Perm(len(pairs)) {
			got, err := iperf.Send(ctx, "a tunnel", tunnelContainer(1).String(), streamSeconds, func(argv ...string) (string, error) {
				return lab.InNamespace(ctx, pairs[i].containers[0].path(), argv...)
			})
			if err != nil {
				return r, err
			}
			sides[i].Gbit, sides[i].CPU = append(sides[i].Gbit, got.Gbit), append(sides[i].CPU, got.CPU)
		}
	}
	return r, nil
}

// filter has br_netfilter look at what the hosts' bridges forward, or not.
func (p tunnelPair) filter(on bool) error {
	value := map[bool]string{false: "0", true: "1"}[on]
	for _, h := range p.hosts {
		err := h.do(func() error { return hostfs.New("/").SetSysctl("net/bridge/bridge-nf-call-iptables", value) })
		if err != nil && (on || !errors.Is(err, fs.ErrNotExist)) {
			return err // without the module it is off
		}
	}
	return nil
}

func (t tunnels) markdown(b *strings.Builder) {
	if len(t) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## A tunnel between two hosts\n\nTCP from a container of one host to one of another, %d streams of %d s on each, in namespaces without an engine: "+
		"medians, and the ratio of the overlay driver's to those of a bridge and a VXLAN device made by hand, with its 95 %% confidence interval. "+
		"Of Gbit/s more is better, of CPU less.\n\n| br_netfilter | | driver | by hand | ratio |\n|---|---|---|---|---|\n", len(t[0].Driver.Gbit), streamSeconds)
	for _, r := range t {
		on := map[bool]string{false: "off, as Engine 29 leaves it", true: "on"}[r.Filtered]
		for _, row := range []struct {
			unit         string
			driver, hand []float64
		}{{"Gbit/s", r.Driver.Gbit, r.Hand.Gbit}, {"CPU ms per Gbit", perMille(r.Driver.CPU), perMille(r.Hand.CPU)}} {
			ratio := stats.Compare(row.driver, row.hand)
			fmt.Fprintf(b, "| %s | %s | %.1f | %.1f | **%.2f** (%.2f to %.2f) |\n", on, row.unit,
				stats.Median(row.driver), stats.Median(row.hand), ratio.Ratio, ratio.Low, ratio.High)
		}
	}
}

func perMille(values []float64) []float64 {
	out := slices.Clone(values)
	for i := range out {
		out[i] *= 1000
	}
	return out
}
