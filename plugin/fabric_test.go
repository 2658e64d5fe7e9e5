package plugin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/plugin/names"
	"github.com/ournet/ournet/plugin/remotenames"
)

func TestFabric_networkOnTwoHostsIsOne(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	a, b := hosts[0], hosts[1]
	a.make("a1", "10.9.0.0/24")
	b.make("b1", "10.9.0.0/24")
	na, _ := a.networks.Network(driver.NetworkID(engineID("a1")))
	nb, _ := b.networks.Network(driver.NetworkID(engineID("b1")))
	if na.Overlay == nil || nb.Overlay == nil || *na.Overlay != *nb.Overlay || na.Overlay.Cluster != engineID("a1") || na.Overlay.MTU != 1450 {
		t.Fatalf("overlays = %+v and %+v, want one", na.Overlay, nb.Overlay)
	}
	a.start("a1", "e1", "10.9.0.0/24", "10.9.0.7")
	id := na.Overlay.Cluster
	eventually(t, "host 2 knows the container of host 1", func() bool { return len(b.peers.Peers(id)) == 1 })
	peer := b.peers.Peers(id)[0]
	if peer.VTEP.String() != "192.0.2.1" || peer.MAC.String() != "02:42:0a:09:00:07" || peer.Addrs[0].String() != "10.9.0.7" {
		t.Errorf("peer = %+v", peer)
	}
	if own := a.peers.Peers(id); len(own) > 0 {
		t.Errorf("host 1 has itself for a peer: %v", own)
	}
	eventually(t, "both know that both take part", func() bool {
		ma, mb := a.peers.Members(id), b.peers.Members(id)
		return len(ma) == 1 && ma[0].String() == "192.0.2.2" && len(mb) == 1 && mb[0].String() == "192.0.2.1"
	})

	records := newFakeRecords()
	names := remotenames.New(b.cluster, records)
	names.SetNetwork(nb.ID, cluster.NetworkID(id))
	host1 := string(a.cluster.Self().ID)
	if got := records.text(); got != engineID("b1")+" "+host1+" web,www=10.9.0.7" {
		t.Errorf("names at host 2 = %q", got)
	}
	a.must(t, "/NetworkDriver.Leave", a.both("a1", "e1", ""))
	eventually(t, "host 2 knows that it is gone", func() bool { return len(b.peers.Peers(id)) == 0 })
	names.SetNetwork(nb.ID, cluster.NetworkID(id))
	if got := records.text(); got != "" {
		t.Errorf("names at host 2 = %q, want none", got)
	}
}

// Other hosts send to what they are told, and give it for an answer.
func TestFabric_tellsOfTheAddressesThatTheInterfaceHas(t *testing.T) {
	t.Parallel()
	ep := driver.Endpoint{Address: netip.MustParsePrefix("10.9.0.7/24"), AddressIPv6: netip.MustParsePrefix("fd00:9::7/64")}
	for name, tc := range map[string]struct {
		known names.Known
		ok    bool
		want  []netip.Addr
	}{
		"before the engine has told of it": {want: ep.Addrs()},
		"with IPv6 switched off":           {names.Known{Name: "web", Addrs: ep.Addrs()[:1]}, true, ep.Addrs()[:1]},
	} {
		f := &fabric{names: func(driver.NetworkID, driver.EndpointID) (names.Known, bool) { return tc.known, tc.ok }}
		if got := f.endpoint(driver.Network{}, ep).Addrs; !slices.Equal(got, tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// An engine that forces leaves Leave out.
func TestFabric_endpointThatIsDeletedIsWithdrawn(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	a, b := hosts[0], hosts[1]
	a.make("a1", "10.9.0.0/24")
	b.make("b1", "10.9.0.0/24")
	a.start("a1", "e1", "10.9.0.0/24", "10.9.0.7")
	eventually(t, "host 2 knows the container", func() bool { return len(b.peers.Peers(engineID("a1"))) == 1 })
	a.must(t, "/NetworkDriver.DeleteEndpoint", a.both("a1", "e1", ""))
	eventually(t, "host 2 knows that it is gone", func() bool { return len(b.peers.Peers(engineID("a1"))) == 0 })
}

func TestFabric_everyVerbTwice(t *testing.T) {
	t.Parallel()
	m := newMembers(t, 1)[0]
	m.pool("10.9.0.0/24")
	for _, step := range []struct{ path, body, told string }{
		{"/NetworkDriver.CreateNetwork", overlayBody("a1", "10.9.0.0/24"), "join mtu 1450"},
		{"/NetworkDriver.CreateEndpoint", m.both("a1", "e1", `,"Interface":{"Address":"10.9.0.7/24"}`), ""},
		{"/NetworkDriver.Join", m.both("a1", "e1", `,"SandboxKey":"/run/docker/netns/x"`), ""},
		{"/NetworkDriver.Leave", m.both("a1", "e1", ""), ""},
		{"/NetworkDriver.DeleteEndpoint", m.both("a1", "e1", ""), ""},
		{"/NetworkDriver.DeleteNetwork", `{"NetworkID":"` + engineID("a1") + `"}`, "leave removed=true"},
	} {
		if strings.HasSuffix(step.path, "CreateEndpoint") {
			m.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-cluster/10.9.0.0/24","Address":"10.9.0.7"}`)
		}
		first := m.must(t, step.path, step.body)
		if told := m.did(); told != step.told {
			t.Errorf("%s told the cluster %q, want %q", step.path, told, step.told)
		}
		if strings.HasSuffix(step.path, "DeleteNetwork") {
			eventually(t, "the network is gone from the cluster", func() bool { return len(m.shared()) == 0 })
		}
		view := fmt.Sprintf("%+v", m.adminCluster())
		if second := m.must(t, step.path, step.body); second != first {
			t.Errorf("%s: second answer %s, want %s", step.path, second, first)
		}
		if told := m.did(); told != "" {
			t.Errorf("%s told the cluster %q the second time", step.path, told)
		}
		if again := fmt.Sprintf("%+v", m.adminCluster()); again != view {
			t.Errorf("%s: the second time changed the cluster from\n%s to\n%s", step.path, view, again)
		}
	}
}

func TestFabric_onlyWhatAUserRemovedIsRemovedEverywhere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		known func(m *member, id driver.NetworkID)
		want  string
	}{
		"by the end of a creation that failed": {func(*member, driver.NetworkID) {}, "leave removed=false"},
		"by a user":                            {func(m *member, id driver.NetworkID) { m.known(id) }, "leave removed=true"},
		"because the engine lost it": {func(m *member, id driver.NetworkID) {
			m.known(id)
			m.Lost(id)
		}, "leave removed=false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMembers(t, 1)[0]
			m.make("a1", "10.9.0.0/24")
			if err := m.complete(t.Context(), engineID("a1"), driver.NetworkID(engineID("a1")), engine.Definition{Name: "lab"}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the network is complete", func() bool { return m.shared()[0].complete })
			tc.known(m, driver.NetworkID(engineID("a1")))
			m.did()
			m.must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+engineID("a1")+`"}`)
			if told := m.did(); told != tc.want {
				t.Errorf("DeleteNetwork told the cluster %q, want %q", told, tc.want)
			}
		})
	}
}

func TestFabric_failedCreationLeavesNothing(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	a, b := hosts[0], hosts[1]
	a.pool("10.9.0.0/24")
	a.kernel.fail = errors.New("boom")
	if got := a.ask(t, "/NetworkDriver.CreateNetwork", overlayBody("a1", "10.9.0.0/24")); got.Status != http.StatusInternalServerError {
		t.Fatalf("CreateNetwork = %+v", got)
	}
	if told := a.did(); told != "join mtu 1450, leave removed=true" {
		t.Errorf("the cluster was told %q", told)
	}
	a.must(t, "/IpamDriver.ReleasePool", `{"PoolID":"ournet-cluster/10.9.0.0/24"}`)
	// Nothing is in the way of another host's, with other settings.
	eventually(t, "the subnet is free", func() bool {
		b.ask(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-cluster","Pool":"10.9.0.0/24"}`)
		x := b.ask(t, "/NetworkDriver.CreateNetwork", overlayBody("b1", "10.9.0.0/24", `"vni":"77"`))
		t.Log(x)
		return x.Status == http.StatusOK
	})
}

// The way of one host to the others may take smaller packets than that of another.
func TestFabric_theFirstHostsMTUIsTheNetworks(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	hosts[0].mtu, hosts[1].mtu = 1400, 8950
	hosts[0].make("a1", "10.9.0.0/24")
	hosts[1].make("b1", "10.9.0.0/24")
	n, _ := hosts[1].networks.Network(driver.NetworkID(engineID("b1")))
	if n.Overlay.MTU != 1400 {
		t.Errorf("MTU at host 2 = %d, want host 1's 1400", n.Overlay.MTU)
	}
}

func TestFabric_refusesWhatCannotWorkAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		why  error
		ask  func(m *member) answer
		says []string
	}{
		{
			"no cluster", errNoCluster, func(m *member) answer {
				return m.ask(t, "/NetworkDriver.CreateNetwork", strings.ReplaceAll(overlayBody("a1", "10.9.0.0/24"), "ournet-cluster", "LocalDefault"))
			}, []string{"docker plugin disable -f ournet/ournet", "docker plugin set ournet/ournet CLUSTER_STORE=", "docker plugin enable ournet/ournet"},
		},
		{
			"the engine's own address manager", nil, func(m *member) answer {
				return m.ask(t, "/NetworkDriver.CreateNetwork", strings.ReplaceAll(overlayBody("a1", "10.9.0.0/24"), "ournet-cluster", "LocalDefault"))
			}, []string{"add --ipam-driver ournet", "10.9.0.0/24"},
		},
		{
			"addresses of the host alone", nil, func(m *member) answer {
				m.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-cluster","Pool":"10.9.0.0/24","Options":{"scope":"host"}}`)
				return m.ask(t, "/NetworkDriver.CreateNetwork", overlayBody("a1", "10.9.0.0/24"))
			}, []string{"without --ipam-opt scope=host"},
		},
		{"an MTU that does not pass", nil, func(m *member) answer {
			m.pool("10.9.0.0/24")
			return m.ask(t, "/NetworkDriver.CreateNetwork", overlayBody("a1", "10.9.0.0/24", `"com.docker.network.driver.mtu":"9000"`))
		}, []string{"an MTU of 9000 does not pass"}},
		{"a wrong setting", errors.New("CLUSTER_ADVERTISE is wrong"), func(m *member) answer {
			return m.ask(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-cluster"}`)
		}, []string{"CLUSTER_ADVERTISE is wrong"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newMember(t, 1, &gate{store: closable{memstore.New()}, why: tc.why})
			got := tc.ask(m)
			text := errText(t, got)
			if got.Status != http.StatusInternalServerError || strings.Contains(text, "\n") {
				t.Errorf("answer = %d %s, want an error of one line", got.Status, text)
			}
			for _, word := range tc.says {
				if !strings.Contains(text, word) {
					t.Errorf("it says %q, want %q", text, word)
				}
			}
			if all := m.networks.All(); len(all) > 0 {
				t.Errorf("there are networks: %v", all)
			}
		})
	}
}

// What is there goes on while the cluster store is away.
func TestFabric_containersComeAndGoWithoutTheStore(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	a, b := hosts[0], hosts[1]
	a.make("a1", "10.9.0.0/24")
	b.make("b1", "10.9.0.0/24")
	a.start("a1", "e1", "10.9.0.0/24", "10.9.0.7")
	a.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-cluster/10.9.0.0/24"}`) // with it comes a reserve
	eventually(t, "host 2 knows the container", func() bool { return len(b.peers.Peers(engineID("a1"))) == 1 })
	a.gate.shutFor(errors.New("consul is away"))
	addr := strings.TrimSuffix(strings.TrimPrefix(
		a.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-cluster/10.9.0.0/24"}`), `{"Address":"`), `/24","Data":{}}`)
	a.must(t, "/NetworkDriver.CreateEndpoint", a.both("a1", "e2", `,"Interface":{"Address":"`+addr+`/24"}`))
	a.must(t, "/NetworkDriver.Join", a.both("a1", "e2", `,"SandboxKey":"/run/docker/netns/e2"`))
	a.must(t, "/NetworkDriver.Leave", a.both("a1", "e1", ""))
	if err := a.sync(t.Context(), a.networks); err != nil {
		t.Errorf("sync = %v", err)
	}
	a.gate.open()
	eventually(t, "host 2 knows what happened meanwhile", func() bool {
		peers := b.peers.Peers(engineID("a1"))
		return len(peers) == 1 && peers[0].Addrs[0].String() == addr
	})
}

func TestMembership_definitionGoesFromEngineToEngine(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	a, b := hosts[0], hosts[1]
	a.make("a1", "10.9.0.0/24", `"vni":"77"`)
	d := engine.Definition{
		Name: "lab", Driver: "ournet/ournet:latest", Labels: map[string]string{"team": "blue"}, Options: map[string]string{"type": "overlay", "vni": "77"},
		Attachable: true, IPv4: true,
		IPAM: engine.IPAM{Driver: "ournet", Subnets: []engine.Subnet{{Subnet: netip.MustParsePrefix("10.9.0.0/24")}}},
	}
	if err := a.complete(t.Context(), engineID("a1"), driver.NetworkID(engineID("a1")), d); err != nil {
		t.Fatal(err)
	}
	eventually(t, "host 2 knows the name", func() bool { return len(b.shared()) == 1 && b.shared()[0].complete })
	got := b.shared()[0]
	if got.ours || got.removed || got.id != engineID("a1") || got.definition.Name != "lab" || got.definition.Labels["team"] != "blue" ||
		got.definition.Options["vni"] != "77" || !got.definition.Attachable || !got.definition.IPv4 || got.definition.IPv6 {
		t.Errorf("host 2 has %+v", got)
	}
	want := engine.Subnet{Subnet: netip.MustParsePrefix("10.9.0.0/24"), Gateway: netip.MustParseAddr("10.9.0.1")}
	if s := got.definition.IPAM.Subnets; len(s) != 1 || s[0].Subnet != want.Subnet || s[0].Gateway != want.Gateway {
		t.Errorf("subnets at host 2 = %+v, want %+v", s, want)
	}
	all := b.adminCluster()
	if len(all.Networks) != 1 || all.Networks[0].Name != "lab" || all.Networks[0].VNI != 77 || all.Networks[0].Local != "" || len(all.Hosts) != 2 || all.Problem != "" {
		t.Errorf("adminCluster = %+v", all)
	}
}

func TestMembership_hostThatWantsNoClusterHasNoTroubleWithIt(t *testing.T) {
	t.Parallel()
	m := newMember(t, 1, &gate{why: errNoCluster})
	m.store = ""
	if got := m.adminCluster(); got.Problem != "" || len(got.Hosts) != 1 || !got.Hosts[0].Self {
		t.Errorf("adminCluster = %+v, want this host alone, and no problem", got)
	}
	m.store = "consul://c"
	if got := m.adminCluster(); got.Problem == "" {
		t.Error("adminCluster tells nothing of a store that cannot be used")
	}
}

// Engine 20.10 asks for the address spaces when it first sees the plugin and not again.
func TestFabric_engineAsksInTheSpaceOfBefore(t *testing.T) {
	t.Parallel()
	for _, space := range []string{"ournet-host", "ournet-cluster"} {
		m := newMember(t, 1, &gate{store: closable{memstore.New()}})
		if got := m.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"`+space+`","Pool":"10.9.0.0/24"}`); !strings.Contains(got, "ournet-cluster/10.9.0.0/24") {
			t.Errorf("in a cluster a pool in %s is %s, want one of the cluster", space, got)
		}
		if got := m.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"`+space+`","Pool":"10.8.0.0/24","Options":{"scope":"host"}}`); !strings.Contains(got, "ournet-host/10.8.0.0/24") {
			t.Errorf("in a cluster a pool in %s with scope=host is %s", space, got)
		}
		alone := newRealStack(t)
		if got := alone.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"`+space+`","Pool":"10.9.0.0/24"}`); !strings.Contains(got, "ournet-host/10.9.0.0/24") {
			t.Errorf("in no cluster a pool in %s is %s, want one of the host", space, got)
		}
	}
}
