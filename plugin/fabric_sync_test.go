package plugin

import (
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
