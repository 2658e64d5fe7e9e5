package ipam_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/ournet/ournet/ipam"
)

// An address that another host gets is forgotten here. A sweep that comes meanwhile sees
// that it is of no more use here, and shall leave it to whoever forgets it already.
func TestCluster_sweepWhileAnAddressIsGiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLand(t, "a", "b")
		id := l.network("10.1.0.0/24", "")
		a, b := l.worlds["a"], l.worlds["b"]
		given := a.lease(any4(id))
		a.release(id, given)
		l.run("a")
		synctest.Wait()

		entered, leave := a.kv.stop()
		got := b.ask(static(id, given.String(), "web"))
		<-entered
		swept := make(chan error, 1)
		go func() {
			_, err := a.Sweep(t.Context(), nil)
			swept <- err
		}()
		synctest.Wait()
		a.kv.run()
		leave <- struct{}{}
		select {
		case <-entered: // the sweep's write, if it makes one
			leave <- struct{}{}
		case err := <-swept:
			swept <- err
		}
		if err := <-swept; err != nil {
			t.Error(err)
		}
		if got := <-got; got.err != nil || got.addr.Addr() != given {
			t.Errorf("the other host got %s, %v", got.addr, got.err)
		}
		a.wantRefused(static(id, given.String(), ""), ipam.ErrInUse, "host b")
	})
}

// Containers that start at once on a host with nothing in reserve all get addresses that
// another host has idle.
func TestCluster_manyAskTheSameHostAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			l := newLand(t, "a", "b")
			id := l.network("10.1.0.0/28", "")
			a, b := l.worlds["a"], l.worlds["b"]
			idle := a.leaseAll(id)
			for _, addr := range idle {
				a.release(id, addr)
			}
			l.run("a")
			var asked []<-chan answer
			for range idle {
				asked = append(asked, b.ask(any4(id)))
			}
			got := make(map[netip.Addr]bool)
			for _, ask := range asked {
				a := <-ask
				if a.err != nil {
					t.Error(a.err)
				}
				got[a.addr.Addr()] = true
			}
			if len(got) != len(idle) {
				t.Errorf("%d of %d addresses were had", len(got), len(idle))
			}
		})
	}
}

// leaseAll leases addresses until there are none.
func (w *world) leaseAll(id ipam.PoolID) []netip.Addr {
	w.t.Helper()
	var had []netip.Addr
	for {
		got, err := w.RequestAddress(w.t.Context(), any4(id))
		if err != nil {
			wantError(w.t, err, ipam.ErrExhausted)
			return had
		}
		had = append(had, got.Addr())
	}
}
