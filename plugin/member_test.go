package plugin

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
	"github.com/ournet/ournet/plugin/names"
)

// member is a host of a cluster with all below its verbs but the kernel and the engine.
type member struct {
	*stack
	*membership

	t       *testing.T
	gate    *gate
	cluster *cluster.Cluster
	manager *ipam.Manager
	peers   overlayPeers
	// calls are what the cluster was told of networks and endpoints.
	calls []string
	mtu   int // what passes here
}

// newMembers returns hosts with one cluster store, which take part in the cluster until
// the test ends.
func newMembers(t *testing.T, hosts int) []*member {
	t.Helper()
	shared := memstore.New()
	all := make([]*member, 0, hosts)
	for i := range hosts {
		m := newMember(t, i+1, &gate{store: closable{shared}})
		ctx, cancel := context.WithCancel(context.Background())
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return untilDone(ctx, m.cluster.Run(ctx)) })
		g.Go(func() error { return untilDone(ctx, m.manager.Run(ctx)) })
		t.Cleanup(func() {
			cancel()
			if err := g.Wait(); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		all = append(all, m)
	}
	return all
}

func newMember(t *testing.T, number int, g *gate) *member {
	t.Helper()
	m := &member{stack: &stack{kv: memstore.New(), kernel: newFakeKernel()}, t: t, gate: g, mtu: 1450}
	own := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", number))
	var err error
	m.cluster, err = cluster.Open(t.Context(), discard(), m.kv, g, cluster.Options{
		Host: cluster.Host{Name: fmt.Sprintf("host%d", number), VTEPs: []netip.Addr{own}, Port: 4789},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.manager, err = ipam.Open(t.Context(), m.kv, func() ([]netip.Prefix, error) { return nil, nil }, discard(),
		ipam.Settings{Cluster: &ipam.ClusterStore{KV: g, Host: string(m.cluster.Self().ID)}})
	if err != nil {
		t.Fatal(err)
	}
	networks := m.registry(t)
	m.Handler = NewHandler(discard(), networks, m.manager)
	m.membership = &membership{
		fabric: &fabric{
			log: discard(), cluster: recordingMembers{m.cluster, m}, unusable: g.shut, pools: m.manager.Pools, made: func(driver.Network) {},
			names: func(n driver.NetworkID, id driver.EndpointID) (names.Known, bool) {
				ep, ok := networks.Endpoint(n, id)
				return names.Known{Name: "web", Aliases: []string{"www"}, Addrs: ep.Addrs()}, ok
			},
			fitMTU: func(asked int) (int, error) {
				if asked > m.mtu {
					return 0, fmt.Errorf("an MTU of %d does not pass", asked)
				}
				return max(asked, (1-min(asked, 1))*m.mtu), nil
			},
		},
		registrar: m.cluster, networks: networks, store: "consul://c", troubles: func() map[string]string { return nil }, away: g.away,
	}
	m.verbs.fabric = m.membership
	m.registerCluster(m.membership)
	m.peers = overlayPeers{m.cluster, func() netip.Addr { return own }}
	return m
}

// recordingMembers notes what the cluster is told.
type recordingMembers struct {
	*cluster.Cluster

	m *member
}

func (r recordingMembers) JoinNetwork(ctx context.Context, spec cluster.NetworkSpec) (cluster.Network, error) {
	r.m.calls = append(r.m.calls, fmt.Sprintf("join mtu %d", spec.MTU))
	return r.Cluster.JoinNetwork(ctx, spec)
}

func (r recordingMembers) LeaveNetwork(ctx context.Context, id cluster.NetworkID, removed bool) error {
	r.m.calls = append(r.m.calls, fmt.Sprintf("leave removed=%t", removed))
	return r.Cluster.LeaveNetwork(ctx, id, removed)
}

// did returns what the cluster was told since the last time.
func (m *member) did() string {
	calls := strings.Join(m.calls, ", ")
	m.calls = nil
	return calls
}

// engineID returns one of the ids that a host's engine gives.
func engineID(digits string) string { return digits + strings.Repeat("0", 64-len(digits)) }

// overlayBody asks for an overlay network of a subnet, with options after -o.
func overlayBody(id, subnet string, options ...string) string {
	generic := append([]string{`"type":"overlay"`}, options...)
	gateway := strings.Replace(subnet, ".0/", ".1/", 1)
	return `{"NetworkID":"` + engineID(id) + `","Options":{"com.docker.network.generic":{` + strings.Join(generic, ",") + `}},
		"IPv4Data":[{"AddressSpace":"ournet-cluster","Pool":"` + subnet + `","Gateway":"` + gateway + `"}]}`
}

// pool asks for a pool of the cluster and its gateway, as an engine does before it makes
// a network.
func (m *member) pool(subnet string) {
	m.t.Helper()
	m.must(m.t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-cluster","Pool":"`+subnet+`"}`)
	gateway, _, _ := strings.Cut(strings.Replace(subnet, ".0/", ".1/", 1), "/")
	m.must(m.t, "/IpamDriver.RequestAddress",
		`{"PoolID":"ournet-cluster/`+subnet+`","Address":"`+gateway+`","Options":{"RequestAddressType":"com.docker.network.gateway"}}`)
}

// make makes an overlay network.
func (m *member) make(id, subnet string, options ...string) {
	m.t.Helper()
	m.pool(subnet)
	m.must(m.t, "/NetworkDriver.CreateNetwork", overlayBody(id, subnet, options...))
}

// start makes an endpoint with an address and joins it.
func (m *member) start(network, id, subnet, addr string) {
	m.t.Helper()
	m.must(m.t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-cluster/`+subnet+`","Address":"`+addr+`"}`)
	m.must(m.t, "/NetworkDriver.CreateEndpoint", `{"NetworkID":"`+engineID(network)+`","EndpointID":"`+engineID(id)+`","Interface":{"Address":"`+addr+`/24"}}`)
	m.must(m.t, "/NetworkDriver.Join", m.both(network, id, `,"SandboxKey":"/run/docker/netns/`+id+`"`))
}

func (m *member) both(network, id, more string) string {
	return `{"NetworkID":"` + engineID(network) + `","EndpointID":"` + engineID(id) + `"` + more + `}`
}

// shutFor shuts the gate again, as if the store were away.
func (g *gate) shutFor(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = why
}

// eventually waits for what other hosts have to tell.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// fakeRecords are names by network and host.
type fakeRecords struct {
	have     map[string][]dns.Endpoint
	suspects map[dns.HostID]bool
}

func newFakeRecords() *fakeRecords {
	return &fakeRecords{have: make(map[string][]dns.Endpoint), suspects: make(map[dns.HostID]bool)}
}

func (r *fakeRecords) Replace(id dns.NetworkID, host dns.HostID, endpoints []dns.Endpoint) {
	key := string(id) + " " + string(host)
	if r.have[key] = endpoints; len(endpoints) == 0 {
		delete(r.have, key)
	}
}

func (r *fakeRecords) SetSuspect(host dns.HostID, suspect bool) { r.suspects[host] = suspect }

func (r *fakeRecords) text() string {
	var lines []string
	for key, endpoints := range r.have {
		for _, ep := range endpoints {
			lines = append(lines, fmt.Sprintf("%s %s=%s", key, strings.Join(append([]string{ep.Name}, ep.Aliases...), ","), ep.Addrs[0]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
