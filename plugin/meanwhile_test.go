package plugin

import (
	"context"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/cluster"
)

// whileListed does something after the records were read and before who reads them goes
// on.
type whileListed struct {
	NetworkLister

	do func()
}

func (l whileListed) All() []driver.Attached {
	all := l.NetworkLister.All()
	l.do()
	return all
}

// A container that ends just while all is told again is not told of once more: the other
// hosts would have its name and address until the next time.
func TestFabric_whatEndsWhileAllIsToldStaysGone(t *testing.T) {
	t.Parallel()
	m := newMembers(t, 1)[0]
	m.make("a1", "10.9.0.0/24")
	m.start("a1", "e1", "10.9.0.0/24", "10.9.0.7")
	left := make(chan string, 1)
	leave := func() {
		go func() { left <- m.ask(t, "/NetworkDriver.Leave", m.both("a1", "e1", "")).Body }()
		select {
		case answer := <-left:
			left <- answer
		case <-time.After(100 * time.Millisecond): // it waits
		}
	}
	if err := m.sync(t.Context(), whileListed{m.networks, leave}); err != nil {
		t.Error(err)
	}
	if answer := <-left; answer != "{}" {
		t.Errorf("Leave = %s", answer)
	}
	if all := m.cluster.View().Endpoints(cluster.NetworkID(engineID("a1"))); len(all) > 0 {
		t.Errorf("the cluster is told of %v", all)
	}
}

// whileWithdrawn does something while the cluster is told that an endpoint is gone.
type whileWithdrawn struct {
	Fabric

	do func()
}

func (f whileWithdrawn) Withdraw(ctx context.Context, n driver.Network, id driver.EndpointID) error {
	f.do()
	return f.Fabric.Withdraw(ctx, n, id)
}

// A container gets the address of one that the engine has forgotten, at the moment when
// that is removed, and keeps it.
func TestKeeper_addressOfAForgottenEndpointIsAskedForAgain(t *testing.T) {
	t.Parallel()
	m := newMembers(t, 1)[0]
	m.make("a1", "10.9.0.0/24")
	m.start("a1", "e1", "10.9.0.0/24", "10.9.0.7")
	m.verbs.fabric = whileWithdrawn{m.verbs.fabric, func() {
		m.must(t, "/IpamDriver.RequestAddress", `{"PoolID":"ournet-cluster/10.9.0.0/24","Address":"10.9.0.7"}`)
	}}
	k := &keeper{verbs: m.verbs, addresses: m.manager}
	ep, _ := m.networks.Endpoint(driver.NetworkID(engineID("a1")), driver.EndpointID(engineID("e1")))
	if err := k.forgetEndpoint(t.Context(), ep); err != nil {
		t.Error(err)
	}
	m.must(t, "/NetworkDriver.CreateEndpoint", m.both("a1", "e2", `,"Interface":{"Address":"10.9.0.7/24"}`))
}
