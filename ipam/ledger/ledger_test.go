package ledger_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam/ledger"
)

// A pool that was removed by the host that left it last, and is made again, is another
// one: what the first host saw of the old one says nothing of it.
func TestShare_pageOfARemovedPoolIsNotBelieved(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	kv := memstore.New()
	subnet, gateway := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParseAddr("10.0.0.1")
	wanted := func([]netip.Prefix) (ledger.Pool, error) { return ledger.Pool{Subnet: subnet}, nil }
	nobody := func(func(netip.Addr) bool) {}
	one, two := ledger.New(kv, "one", time.Now), ledger.New(kv, "two", time.Now)
	for range 2 {
		for _, l := range []*ledger.Ledger{one, two} {
			if _, err := l.Join(ctx, false, wanted); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Share(ctx, subnet, gateway, true, nobody); err != nil {
				t.Fatal(err)
			}
			pools, err := two.Pools(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(pools) != 1 || pools[0].Gateway != gateway {
				t.Fatalf("the cluster has the pools %+v, want one with the gateway %s", pools, gateway)
			}
		}
		for _, l := range []*ledger.Ledger{one, two} {
			if err := l.Vacate(ctx, subnet, l.Host()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
