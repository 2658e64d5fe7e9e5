package ipam_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/ipam"
)

func TestRequestPool_withSubnet(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ subnet, rng string }{
		{"172.25.0.0/16", ""},
		{"172.25.0.0/16", "172.25.3.0/24"},
		{"172.25.0.0/16", "172.25.0.0/16"},
		{"10.0.0.0/8", "10.1.1.1/32"},
		{"10.1.1.0/31", ""},
		{"10.1.1.1/32", ""},
		{"fd00:1::/64", ""},
		{"fd00:1::/48", "fd00:1:0:5::/64"},
		{"fd00:1::/120", "fd00:1::80/121"},
	} {
		w := newWorld(t)
		id, subnet, err := w.RequestPool(t.Context(), poolRequest(tc.subnet, tc.rng))
		if err != nil || subnet.String() != tc.subnet || string(id) != "ournet-host/"+tc.subnet {
			t.Errorf("RequestPool(%s, %s) = %s, %s, %v", tc.subnet, tc.rng, id, subnet, err)
		}
		w.wantKeys(strings.ReplaceAll(tc.subnet, "/", "_") + "/pool")
		w.wantSameAfterReopen()
	}
}

func TestRequestPool_foolishRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v6 := func(req ipam.PoolRequest, v6 bool) ipam.PoolRequest { req.V6 = v6; return req }
	for _, tc := range []struct {
		name  string
		req   ipam.PoolRequest
		kind  error
		parts []string
	}{
		{"unknown space", ipam.PoolRequest{Space: "LocalDefault"}, ipam.ErrSpace, []string{"LocalDefault", ipam.SpaceHost}},
		{"no space", ipam.PoolRequest{}, ipam.ErrSpace, nil},
		{"host bits", poolRequest("172.25.0.5/16", ""), ipam.ErrRequest, []string{"172.25.0.5/16", "write 172.25.0.0/16"}},
		{"host bits in the range", poolRequest("172.25.0.0/16", "172.25.3.4/24"), ipam.ErrRequest, []string{"write 172.25.3.0/24"}},
		{"range outside", poolRequest("172.25.0.0/16", "172.26.3.0/24"), ipam.ErrRequest, []string{"172.26.3.0/24", "172.25.0.0/16"}},
		{"range larger", poolRequest("172.25.0.0/16", "172.0.0.0/8"), ipam.ErrRequest, nil},
		{"range of the other family", poolRequest("172.25.0.0/16", "fd00::/64"), ipam.ErrRequest, nil},
		{"range of the network address", poolRequest("172.25.0.0/16", "172.25.0.0/32"), ipam.ErrRequest, []string{"no address"}},
		{"range without subnet", poolRequest("", "172.25.0.0/16"), ipam.ErrRequest, []string{"--subnet"}},
		{"IPv6 for IPv4", v6(poolRequest("fd00::/64", ""), false), ipam.ErrRequest, []string{"--ipv6"}},
		{"IPv4 for IPv6", v6(poolRequest("172.25.0.0/16", ""), true), ipam.ErrRequest, nil},
		{"IPv4 in IPv6 form", v6(poolRequest("::ffff:10.0.0.0/104", ""), true), ipam.ErrRequest, []string{"IPv4"}},
		{"everything", poolRequest("0.0.0.0/0", ""), ipam.ErrRequest, nil},
		{"multicast", poolRequest("224.0.0.0/8", ""), ipam.ErrRequest, nil},
		{"IPv6 multicast", poolRequest("ff05::/64", ""), ipam.ErrRequest, nil},
		{"loopback", poolRequest("127.1.0.0/16", ""), ipam.ErrRequest, nil},
	} {
		_, _, err := w.RequestPool(t.Context(), tc.req)
		if !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.kind)
			continue
		}
		wantError(t, err, tc.kind, tc.parts...)
	}
	w.wantKeys()
}

func TestRequestPool_overlapIsRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.routes = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("128.0.0.0/1")}
	w.pool("172.25.0.0/16", "", strings.Repeat("ab", 32))
	w.unboundPool("172.26.0.0/16", "")
	w.pool("fd00:5::/64", "", "six")
	for _, tc := range []struct {
		subnet string
		parts  []string
	}{
		{"172.25.0.0/16", []string{"172.25.0.0/16", "network abababababab"}},
		{"172.25.3.0/24", []string{"172.25.3.0/24", "172.25.0.0/16", "network abababababab"}},
		{"172.24.0.0/14", []string{"172.24.0.0/14"}},
		{"172.26.3.0/24", []string{"172.26.0.0/16", "being made"}},
		{"fd00::/16", []string{"fd00:5::/64"}},
		{"192.168.0.0/16", []string{"192.168.0.0/24", "route", "--subnet"}},
		{"192.168.0.128/25", []string{"192.168.0.0/24", "route"}},
	} {
		_, _, err := w.RequestPool(t.Context(), poolRequest(tc.subnet, ""))
		wantError(t, err, ipam.ErrOverlap, tc.parts...)
	}
	for _, beside := range []string{"172.27.0.0/16", "172.24.0.0/16", "192.168.1.0/24", "fd00:5:0:1::/64"} {
		w.unboundPool(beside, "")
	}
}

func TestRequestPool_repeatedUntilBoundIsTheSamePool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := poolRequest("172.25.0.0/16", "172.25.3.0/24")
	first, _, err := w.RequestPool(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	writes, _ := w.kv.counts()
	if again, _, err := w.RequestPool(t.Context(), req); err != nil || again != first {
		t.Errorf("second RequestPool = %s, %v, want %s", again, err, first)
	}
	if now, _ := w.kv.counts(); now != writes {
		t.Errorf("a repeated request wrote to the store")
	}
	for _, other := range []ipam.PoolRequest{poolRequest("172.25.0.0/16", ""), poolRequest("172.25.0.0/16", "172.25.4.0/24")} {
		_, _, err := w.RequestPool(t.Context(), other)
		wantError(t, err, ipam.ErrOverlap, "172.25.3.0/24", "other settings")
	}
	if err := w.BindPool(first, "net"); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.RequestPool(t.Context(), req)
	wantError(t, err, ipam.ErrOverlap, "network net")
}

func TestRequestPool_withoutSubnet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.blocks = []ipam.Block{
		{Base: netip.MustParsePrefix("10.1.0.0/16"), Size: 24},
		{Base: netip.MustParsePrefix("10.9.0.0/23"), Size: 24},
	}
	// One route swallows many subnets, one is smaller than a subnet.
	w.routes = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/17"), netip.MustParsePrefix("10.1.129.64/26"), netip.MustParsePrefix("0.0.0.0/0")}
	w.open()
	w.unboundPool("10.1.192.0/18", "")
	want := []string{"10.1.128.0/24"}
	for i := 130; i < 192; i++ {
		want = append(want, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24).String())
	}
	want = append(want, "10.9.0.0/24", "10.9.1.0/24")
	for _, subnet := range want {
		if _, got, err := w.RequestPool(t.Context(), poolRequest("", "")); err != nil || got.String() != subnet {
			t.Fatalf("RequestPool = %s, %v, want %s", got, err, subnet)
		}
	}
	_, _, err := w.RequestPool(t.Context(), poolRequest("", ""))
	wantError(t, err, ipam.ErrNoSubnet, "DEFAULT_ADDRESS_POOLS", "10.1.0.0/16", "10.9.0.0/23")
	w.wantSameAfterReopen()
	w.releasePool(ipam.PoolID("ournet-host/10.1.140.0/24"))
	if _, got, err := w.RequestPool(t.Context(), poolRequest("", "")); err != nil || got.String() != "10.1.140.0/24" {
		t.Errorf("RequestPool after a release = %s, %v", got, err)
	}
}

func TestRequestPool_unspecifiedSubnetSaysOnlyTheLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.blocks = []ipam.Block{
		{Base: netip.MustParsePrefix("10.9.0.0/24"), Size: 24},
		{Base: netip.MustParsePrefix("10.1.0.0/16"), Size: 24},
		{Base: netip.MustParsePrefix("fd00:1::/48"), Size: 64},
	}
	w.open()
	for _, tc := range []struct{ ask, want string }{
		{"0.0.0.0/23", "10.1.0.0/23"}, // the first block has none
		{"0.0.0.0/26", "10.9.0.0/26"},
		{"0.0.0.0/26", "10.9.0.64/26"},
		{"", "10.1.2.0/24"},
		{"::/120", "fd00:1::/120"},
		{"::/56", "fd00:1:0:100::/56"},
	} {
		req := poolRequest(tc.ask, "")
		req.V6 = strings.HasPrefix(tc.ask, "::")
		if _, got, err := w.RequestPool(t.Context(), req); err != nil || got.String() != tc.want {
			t.Errorf("RequestPool(%s) = %s, %v, want %s", tc.ask, got, err, tc.want)
		}
	}
	_, _, err := w.RequestPool(t.Context(), poolRequest("0.0.0.0/15", ""))
	wantError(t, err, ipam.ErrNoSubnet, "length 15", "10.1.0.0/16")
	_, _, err = w.RequestPool(t.Context(), poolRequest("0.0.0.0/31", ""))
	wantError(t, err, ipam.ErrRequest, "0.0.0.0/31", "30")
	_, _, err = w.RequestPool(t.Context(), poolRequest("0.0.0.0/24", "0.0.0.0/25"))
	wantError(t, err, ipam.ErrRequest, "0.0.0.0/25")
	w.wantSameAfterReopen()
}

func TestRequestPool_chosenSubnetIsNobodyElses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, subnet, err := w.RequestPool(t.Context(), poolRequest("", ""))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.RequestPool(t.Context(), poolRequest(subnet.String(), ""))
	wantError(t, err, ipam.ErrOverlap, subnet.String())
}

func TestRequestPool_defaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, got, err := w.RequestPool(t.Context(), poolRequest("", "")); err != nil || got.String() != "10.128.0.0/24" {
		t.Errorf("first default subnet = %s, %v", got, err)
	}
	req := poolRequest("", "")
	req.V6 = true
	_, first, err := w.RequestPool(t.Context(), req)
	if err != nil || first.Bits() != 64 || !netip.MustParsePrefix("fd00::/8").Contains(first.Addr()) {
		t.Fatalf("first default IPv6 subnet = %s, %v", first, err)
	}
	w.open()
	_, second, err := w.RequestPool(t.Context(), req)
	if err != nil || second == first {
		t.Fatalf("second default IPv6 subnet = %s, %v", second, err)
	}
	a, errA := first.Addr().Prefix(48)
	b, errB := second.Addr().Prefix(48)
	if a != b || errA != nil || errB != nil {
		t.Errorf("this host's prefix was %s, after a restart %s", a, b)
	}
	other := newWorld(t)
	_, third, err := other.RequestPool(t.Context(), req)
	if err != nil || a.Contains(third.Addr()) {
		t.Errorf("another host has the same prefix: %s, %s, %v", a, third, err)
	}
}

func TestRequestPool_routesCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, err := ipam.Open(t.Context(), w.kv, func() ([]netip.Prefix, error) { return nil, errDisk }, w.log, ipam.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = m.RequestPool(t.Context(), poolRequest("", ""))
	wantError(t, err, errDisk, "routes")
	w.wantKeys()
}

func TestReleasePool_ofAnUnboundPoolFreesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "")
	w.lease(gateway(id, ""))
	for range 200 { // more than one transaction
		w.lease(any4(id))
	}
	w.releasePool(id)
	w.wantKeys()
	w.releasePool(id)
	w.wantRefused(any4(id), ipam.ErrNoPool, string(id))
	w.unboundPool("172.25.0.0/24", "")
}

func TestReleasePool_ofABoundPoolWaitsForTheNetworksEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net1")
	w.wantLease(gateway(id, ""), "172.25.0.1")
	// A second network of the same subnet fails, and is rolled back.
	wantError(t, w.BindPool(id, "net2"), ipam.ErrInUse, "net1")
	w.release(id, netip.MustParseAddr("172.25.0.1"))
	w.releasePool(id)
	w.unbindPool(id, "net2")
	// The first one does not notice.
	w.wantLease(gateway(id, ""), "172.25.0.1")
	w.wantLease(any4(id), "172.25.0.2")
	if err := w.BindPool(id, "net1"); err != nil {
		t.Error(err)
	}
	// The engine releases before it removes the network.
	w.releasePool(id)
	w.unbindPool(id, "net1")
	w.wantKeys()
	w.unbindPool(id, "net1")
}

func TestUnbindPool_withoutReleaseStartsTheClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net1")
	w.clock.advance(time.Hour)
	w.unbindPool(id, "net1")
	w.clock.advance(ipam.DefaultConfirm - 1)
	if got := w.sweep(); len(got) != 0 {
		t.Errorf("swept too early: %q", got)
	}
	w.clock.advance(1)
	if got := w.sweep(); len(got) != 1 || !strings.Contains(got[0], "172.25.0.0/16") {
		t.Errorf("swept %q", got)
	}
	w.wantKeys()
}

func TestReleasePool_ofNothingSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []ipam.PoolID{"", "x", "ournet-host/172.25.0.0/16", "LocalDefault/172.25.0.0/16", "ournet-host/172.25.0.9/16"} {
		w.releasePool(id)
		w.release(id, netip.MustParseAddr("172.25.0.1"))
		w.release(id, netip.Addr{})
		w.unbindPool(id, "net")
		w.UnbindAddress(id, netip.Addr{}, "ep")
	}
	wantError(t, w.BindPool("x", "net"), ipam.ErrNoPool)
	wantError(t, w.BindAddress("x", netip.Addr{}, "ep"), ipam.ErrNoPool)
}

func TestOpen_whatCannotBeReadIsPassedOverWithOneWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/29", "", "net")
	w.lease(gateway(id, ""))
	set := func(key, value string) {
		if _, err := w.kv.Apply(t.Context(), store.Set(key, []byte(value))); err != nil {
			t.Fatal(err)
		}
	}
	set(store.PoolKey(ipam.SpaceHost, "172.26.0.0/16"), `{"v":2,"subnets":["172.26.0.0/16"]}`)
	set(store.LeaseKey(ipam.SpaceHost, "172.26.0.0/16", "172.26.0.1"), `{"v":2}`)
	set(store.PoolKey(ipam.SpaceHost, "172.27.0.0/16"), `not json`)
	set(store.LeaseKey(ipam.SpaceHost, "172.25.0.0/29", "172.25.0.2"), `{"v":2,"new":true}`)
	set(store.LeaseKey(ipam.SpaceHost, "172.25.0.0/29", "172.25.0.4"), `{"v":1,"kind":"odd"}`)
	w.open()
	if n := len(w.logged.AllEntries()); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	// Nothing of what is passed over is given to anybody else.
	_, _, err := w.RequestPool(t.Context(), poolRequest("172.26.1.0/24", ""))
	wantError(t, err, ipam.ErrOverlap, "newer version")
	_, _, err = w.RequestPool(t.Context(), poolRequest("172.27.0.0/16", ""))
	wantError(t, err, ipam.ErrOverlap)
	w.wantLease(any4(id), "172.25.0.3")
	w.wantLease(any4(id), "172.25.0.5")
	w.wantRefused(static(id, "172.25.0.2", ""), ipam.ErrInUse, "newer version")
	w.clock.advance(time.Hour)
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	for _, key := range []string{"172.26.0.0_16/pool", "172.26.0.0_16/leases/172.26.0.1", "172.27.0.0_16/pool", "172.25.0.0_29/leases/172.25.0.2"} {
		if !slices.Contains(w.keys(), key) {
			t.Errorf("%s was removed", key)
		}
	}
}

func TestOpen_leasesWithoutAPoolAreSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.kv.Apply(t.Context(), store.Set(store.LeaseKey(ipam.SpaceHost, "172.25.0.0/16", "172.25.0.2"), []byte(`{"v":1,"kind":"static"}`))); err != nil {
		t.Fatal(err)
	}
	w.open()
	id := w.unboundPool("172.25.0.0/16", "")
	w.wantLease(static(id, "172.25.0.3", ""), "172.25.0.3")
	w.sweep()
	w.wantKeys("172.25.0.0_16/leases/172.25.0.3", "172.25.0.0_16/pool")
}

func TestOpen_errors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	open := func(ctx context.Context, kv store.KV, s ipam.Settings) error {
		_, err := ipam.Open(ctx, kv, func() ([]netip.Prefix, error) { return nil, nil }, w.log, s)
		return err
	}
	bad := ipam.Settings{Pools: []ipam.Block{{Base: netip.MustParsePrefix("10.0.0.0/8"), Size: 4}}}
	if err := open(t.Context(), memstore.New(), bad); err == nil || !strings.Contains(err.Error(), "size 4") {
		t.Errorf("Open with a bad block: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(ctx, memstore.New(), ipam.Settings{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with an ended context: %v", err)
	}
	damaged := memstore.New()
	if _, err := damaged.Apply(t.Context(), store.Set(store.LocalULAKey(), []byte(`{"v":1,"prefix":"10.0.0.0/8"}`))); err != nil {
		t.Fatal(err)
	}
	if err := open(t.Context(), damaged, ipam.Settings{}); err == nil || !strings.Contains(err.Error(), "IPv6 prefix") {
		t.Errorf("Open with a damaged prefix: %v", err)
	}
}
