package ipam_test

import (
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
