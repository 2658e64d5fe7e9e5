package overlay_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/internal/firewall"
)

// lastRules notes which hosts are let in.
type lastRules struct {
	mu    sync.Mutex // guards hosts
	hosts []netip.Addr
}

func (*lastRules) AddNetwork(context.Context, firewall.Network) error { return nil }
func (*lastRules) RemoveNetwork(context.Context, string) error        { return nil }
func (*lastRules) AddSource(context.Context, firewall.Source) error   { return nil }
func (*lastRules) RemoveSource(context.Context, string) error         { return nil }

func (r *lastRules) SetUnderlay(_ context.Context, u firewall.Underlay) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts = u.VTEPs
	return nil
}

func (r *lastRules) Set(ctx context.Context, want firewall.State) ([]string, error) {
	return nil, r.SetUnderlay(ctx, want.Underlay)
}

// growing are peers to which a host comes right after the first look.
type growing struct {
	mu    sync.Mutex // guards hosts
	hosts []netip.Addr
	came  func()
}

func (*growing) Peers(string) []overlay.Peer { return nil }
func (*growing) Members(string) []netip.Addr { return nil }

func (g *growing) VTEPs() []netip.Addr {
	g.mu.Lock()
	before, isFirst := g.hosts, len(g.hosts) == 1
	if isFirst {
		g.hosts = append(slices.Clone(before), netip.MustParseAddr("192.0.2.3"))
	}
	g.mu.Unlock()
	if isFirst {
		g.came()
	}
	return before
}

// A host that comes while the rules are told of the others stays let in.
func TestRefreshHosts_theLastWordIsTheLatest(t *testing.T) {
	t.Parallel()
	rules := &lastRules{}
	peers := &growing{hosts: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
	d := overlay.New(logrus.New(), "ournet", overlay.Kernel{Rules: rules}, overlay.Options{
		Port: udpPort, VTEP: func() netip.Addr { return netip.MustParseAddr("192.0.2.1") },
	}, peers)
	heard := make(chan error, 1)
	peers.came = func() {
		go func() { heard <- d.RefreshHosts(t.Context()) }()
		select {
		case err := <-heard:
			heard <- err
		case <-time.After(100 * time.Millisecond): // it waits
		}
	}
	must(t, d.RefreshHosts(t.Context()))
	must(t, <-heard)
	if want := netip.MustParseAddr("192.0.2.3"); !slices.Contains(rules.hosts, want) {
		t.Errorf("let in are %v, not %s", rules.hosts, want)
	}
}
