package plugin

import (
	"testing"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
)

// What is in the way of a subnet is said by name, with the hosts that have it.
func TestRequestPool_overlapNamesNetworksAndHosts(t *testing.T) {
	t.Parallel()
	hosts := newMembers(t, 2)
	for _, m := range hosts {
		m.ipam.explain = (&owners{cluster: m.cluster, name: func(id driver.NetworkID) string {
			return map[driver.NetworkID]string{driver.NetworkID(engineID("c1")): "cellar"}[id]
		}}).explain
	}
	a, b := hosts[0], hosts[1]
	a.make("a1", "10.9.0.0/16")
	err := a.registrar.CompleteNetwork(t.Context(), cluster.NetworkID(engineID("a1")), cluster.Completion{Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	a.make("a2", "10.8.0.0/24") // of which the name is not told yet
	a.pool("10.7.0.0/24")       // of which a bridge is made
	b.make("c1", "10.6.0.0/24")
	knows := func(m, other *member) bool {
		h, ok := m.cluster.View().Host(other.cluster.Self().ID)
		return ok && h.Name != ""
	}
	eventually(t, "host 2 knows the networks", func() bool {
		v := b.cluster.View()
		return knows(b, a) && len(v.Networks()) == 3 && len(v.Named("lab")) == 1 && len(a.cluster.View().Networks()) == 3
	})
	b.make("b1", "10.9.0.0/16")
	eventually(t, "host 1 knows that host 2 takes part", func() bool {
		return knows(a, b) && len(a.cluster.View().Members(cluster.NetworkID(engineID("a1")))) == 2
	})
	for _, tc := range []struct {
		m          *member
		asked, say string
	}{
		{a, "10.9.7.0/24", `subnet 10.9.7.0/24 overlaps the subnet 10.9.0.0/16 of network "lab" on hosts host1, host2; choose another --subnet`},
		{a, "10.9.0.0/16", `subnet 10.9.0.0/16 overlaps the subnet 10.9.0.0/16 of network "lab" on hosts host1, host2; use that network, or choose another --subnet`},
		{b, "10.8.0.0/16", `subnet 10.8.0.0/16 overlaps the subnet 10.8.0.0/24 of network a20000000000 on host host1; choose another --subnet`},
		{b, "10.7.0.0/16", `subnet 10.7.0.0/16 overlaps the subnet 10.7.0.0/24 on host host1; choose another --subnet`},
		{b, "10.8.0.0/15", `subnet 10.8.0.0/15 overlaps the subnet 10.9.0.0/16 of network "lab" on hosts host1, host2, and the subnet 10.8.0.0/24 of network a20000000000 on host host1; choose another --subnet`},
		{b, "10.6.0.0/16", `subnet 10.6.0.0/16 overlaps the subnet 10.6.0.0/24 of network "cellar" on host host2; choose another --subnet`},
	} {
		got := tc.m.ask(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-cluster","Pool":"`+tc.asked+`"}`)
		if said := errText(t, got); said != tc.say {
			t.Errorf("%s is answered by\n%q, want\n%q", tc.asked, said, tc.say)
		}
	}
}
