package ipam_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/ipam"
)

func TestRequestAddress_tutorialStep7(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "")
	got, err := w.RequestAddress(t.Context(), gateway(id, "172.25.0.1"))
	if err != nil || got.String() != "172.25.0.1/16" {
		t.Errorf("gateway = %s, %v", got, err)
	}
	if err := w.BindPool(id, "isolated_nw"); err != nil {
		t.Fatal(err)
	}
	w.wantLease(any4(id), "172.25.0.2")
	w.wantLease(static(id, "172.25.3.3", "container3"), "172.25.3.3")
	w.wantLease(any4(id), "172.25.0.3")
	w.wantKeys("172.25.0.0_16/leases/172.25.0.1", "172.25.0.0_16/leases/172.25.0.2", "172.25.0.0_16/leases/172.25.0.3",
		"172.25.0.0_16/leases/172.25.3.3", "172.25.0.0_16/pool")
	w.wantSameAfterReopen()
	w.wantLease(any4(id), "172.25.0.4")
}

func TestRequestAddress_tutorialStep3(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("192.168.0.0/16", "192.168.1.0/24")
	w.wantLease(gateway(id, "192.168.0.100"), "192.168.0.100")
	for _, aux := range []string{"192.168.1.5", "192.168.1.6", "192.168.7.7"} { // also beside the range
		w.wantLease(static(id, aux, ""), aux)
		w.wantLease(static(id, aux, ""), aux) // asked again
	}
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range 254 {
		a := w.lease(any4(id)).String()
		if seen[a] || !strings.HasPrefix(a, "192.168.1.") || a == "192.168.1.5" || a == "192.168.1.6" {
			t.Errorf("address %s", a)
		}
		seen[a] = true
	}
	w.wantRefused(any4(id), ipam.ErrExhausted, "network net", "256 of the 256", "192.168.1.0", "192.168.1.255", "--ip-range")
	w.wantRefused(static(id, "192.168.1.5", ""), ipam.ErrInUse, "auxiliary", "192.168.1.5")
	wantError(t, w.BindAddress(id, netip.MustParseAddr("192.168.1.5"), "ep"), ipam.ErrInUse, "auxiliary")
}

func TestRequestAddress_everyAddressOfAPoolCanBeHad(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		subnet, rng, gateway, first, last string
		count                             int // with the gateway
	}{
		{"10.0.0.0/24", "", "10.0.0.1", "10.0.0.2", "10.0.0.254", 254},
		{"10.0.0.0/30", "", "10.0.0.1", "10.0.0.2", "10.0.0.2", 2},
		{"10.0.0.0/31", "", "10.0.0.0", "10.0.0.1", "10.0.0.1", 2}, // RFC 3021
		{"10.0.0.7/32", "", "10.0.0.7", "", "", 1},
		{"10.0.0.0/24", "10.0.0.248/29", "10.0.0.1", "10.0.0.248", "10.0.0.254", 8},
		{"10.0.0.0/24", "10.0.0.0/30", "10.0.0.1", "10.0.0.2", "10.0.0.3", 3},
		{"10.0.0.0/16", "10.0.255.254/31", "10.0.0.1", "10.0.255.254", "10.0.255.254", 2},
		{"10.0.0.0/8", "10.99.99.99/32", "10.0.0.1", "10.99.99.99", "10.99.99.99", 2},
		{"fd00::/125", "", "fd00::1", "fd00::2", "fd00::7", 7},
		{"fd00::/127", "", "fd00::", "fd00::1", "fd00::1", 2}, // RFC 6164
		{"fd00::9/128", "", "fd00::9", "", "", 1},
		{"fd00::/64", "fd00::ffff:ffff:ffff:fffc/126", "fd00::1", "fd00::ffff:ffff:ffff:fffc", "fd00::ffff:ffff:ffff:ffff", 5},
		{"fd00::/48", "fd00::ffff:ffff:ffff:ffff/128", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::ffff:ffff:ffff:ffff", 2},
	} {
		w := newWorld(t)
		id := w.pool(tc.subnet, tc.rng, "net")
		w.wantLease(gateway(id, ""), tc.gateway)
		w.wantLease(gateway(id, ""), tc.gateway)
		var last netip.Addr
		for i := range tc.count - 1 {
			a := w.lease(any4(id))
			if i == 0 && a.String() != tc.first {
				t.Errorf("%s %s: first address %s, want %s", tc.subnet, tc.rng, a, tc.first)
			}
			last = a
		}
		if tc.last != "" && last.String() != tc.last {
			t.Errorf("%s %s: last address %s, want %s", tc.subnet, tc.rng, last, tc.last)
		}
		w.wantRefused(any4(id), ipam.ErrExhausted)
		w.wantSameAfterReopen()
	}
}

func TestRequestAddress_64BitRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("fd00::/56", "fd00:0:0:80::/64", "net")
	w.wantLease(gateway(id, ""), "fd00::1")
	w.wantLease(any4(id), "fd00:0:0:80::")
	w.wantLease(any4(id), "fd00:0:0:80::1")
	w.wantLease(static(id, "fd00::80:ffff:ffff:ffff:ffff", "last"), "fd00::80:ffff:ffff:ffff:ffff")
	w.wantLease(static(id, "fd00::ff:ffff:ffff:ffff:ffff", "beside"), "fd00::ff:ffff:ffff:ffff:ffff")
	w.wantRefused(static(id, "fd00::", "anycast"), ipam.ErrRequest)
	w.wantSameAfterReopen()
	w.wantLease(any4(id), "fd00:0:0:80::2")
}

// The gateway is not bounded by the range, and the range may be all of the subnet or
// end where 64 bits end.
func TestRequestAddress_everyFormOf64BitRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, subnet := range []string{"fd2e::/64", "fd2e::/56"} {
		for ipRange, want := range map[string]string{
			"":                              "fd2e::2",
			"fd2e::/64":                     "fd2e::2",
			"fd2e::ffff:ffff:ffff:fff0/127": "fd2e::ffff:ffff:ffff:fff0",
			"fd2e::ffff:ffff:ffff:ffff/128": "fd2e::ffff:ffff:ffff:ffff",
			"fd2e::8000:0:0:0/65":           "fd2e::8000:0:0:0",
		} {
			for _, gw := range []string{"", "fd2e::1"} {
				id := w.unboundPool(subnet, ipRange)
				w.wantLease(gateway(id, gw), "fd2e::1")
				w.wantLease(any4(id), want)
				w.releasePool(id)
			}
		}
	}
}

func TestRequestAddress_static(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "172.25.1.0/24", "net")
	w.lease(gateway(id, "172.25.0.1"))
	for _, tc := range []struct {
		addr string
		kind error
		part string
	}{
		{"172.25.0.0", ipam.ErrRequest, "network or broadcast"},
		{"172.25.255.255", ipam.ErrRequest, "from 172.25.0.1 to 172.25.255.254"},
		{"172.26.0.1", ipam.ErrRequest, "not in subnet 172.25.0.0/16"},
		{"fd00::1", ipam.ErrRequest, "not in subnet"},
		{"172.25.0.1", ipam.ErrInUse, "the gateway of network net"},
	} {
		w.wantRefused(static(id, tc.addr, "web"), tc.kind, tc.part, tc.addr)
	}
	w.wantLease(static(id, "172.25.7.7", "web"), "172.25.7.7") // beside the range
	w.wantLease(static(id, "172.25.7.7", "web"), "172.25.7.7") // asked again
	w.wantLease(static(id, "::ffff:172.25.7.7", "web"), "172.25.7.7")
	w.wantRefused(static(id, "172.25.7.7", "db"), ipam.ErrInUse, `container "web"`)
	w.wantRefused(static(id, "172.25.7.7", ""), ipam.ErrInUse)
	addr := netip.MustParseAddr("172.25.7.7")
	w.bind(id, addr, "endpoint-of-web")
	w.wantRefused(static(id, "172.25.7.7", "web"), ipam.ErrInUse)
	w.wantLease(static(id, "172.25.7.8", ""), "172.25.7.8")
	w.wantLease(static(id, "172.25.7.8", ""), "172.25.7.8")
	w.bind(id, netip.MustParseAddr("172.25.7.8"), "0123456789abcdef")
	w.wantRefused(static(id, "172.25.7.8", ""), ipam.ErrInUse, "endpoint 0123456789ab")
	w.wantRefused(gateway(id, "172.25.7.8"), ipam.ErrInUse)
	// What is a container's by chance is not another's by choice.
	a := w.lease(any4(id))
	w.wantRefused(static(id, a.String(), ""), ipam.ErrInUse, "just starting")
	b := w.lease(named(id, "app"))
	w.wantLease(static(id, b.String(), "app"), b.String())
}

func TestRequestAddress_gatewayIsIdempotent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "172.25.1.0/24")
	w.wantLease(gateway(id, ""), "172.25.0.1")
	writes, _ := w.kv.counts()
	for range 3 {
		w.wantLease(gateway(id, ""), "172.25.0.1")
		w.wantLease(gateway(id, "172.25.0.1"), "172.25.0.1")
	}
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	w.wantLease(gateway(id, ""), "172.25.0.1")
	w.open()
	w.wantLease(gateway(id, ""), "172.25.0.1")
	if now, _ := w.kv.counts(); now != writes {
		t.Error("a repeated request wrote to the store")
	}
	w.wantRefused(gateway(id, "172.26.0.1"), ipam.ErrRequest)
	w.wantRefused(gateway(id, "172.25.0.0"), ipam.ErrRequest)
}

func TestRequestAddress_gatewayPassesByWhatIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/29", "")
	w.wantLease(static(id, "172.25.0.1", ""), "172.25.0.1")
	w.wantLease(gateway(id, ""), "172.25.0.2")
	w.wantRefused(gateway(id, "172.25.0.1"), ipam.ErrInUse, "auxiliary")
}

func TestReleaseAddress_gatewayAndAuxiliaryLiveWithTheirNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.unboundPool("172.25.0.0/16", "")
	gw, aux := w.lease(gateway(id, "")), w.lease(static(id, "172.25.0.9", ""))
	w.release(id, gw) // the create is rolled back
	w.release(id, aux)
	w.wantKeys("172.25.0.0_16/pool")
	w.lease(gateway(id, ""))
	w.lease(static(id, "172.25.0.9", ""))
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	w.release(id, gw)
	w.release(id, aux)
	w.clock.advance(time.Hour)
	w.sweep()
	w.wantRefused(static(id, "172.25.0.1", "web"), ipam.ErrInUse, "gateway")
	w.wantRefused(static(id, "172.25.0.9", "web"), ipam.ErrInUse, "auxiliary")
}

func TestRequestAddress_nameGetsItsAddressBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/28", "", "net") // 14 addresses
	web := w.lease(named(id, "web"))
	w.wantLease(named(id, "web"), web.String()) // asked again
	db := w.lease(named(id, "db"))
	w.bind(id, web, "ep1")
	if again := w.lease(named(id, "web")); again == web { // another one by that name
		t.Errorf("a bound address was given again")
	} else {
		w.release(id, again)
	}
	w.UnbindAddress(id, web, "ep1")
	w.release(id, web)
	w.release(id, web)
	w.release(id, db)
	w.clock.advance(24 * time.Hour)
	w.sweep()
	w.open()
	if err := w.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	var others []netip.Addr
	for i := range 11 {
		others = append(others, w.lease(named(id, fmt.Sprint("other", i))))
	}
	w.wantLease(named(id, "db"), db.String())
	w.release(id, db)
	// Only when nothing else is left is a remembered address somebody else's,
	// and then the one that was released first.
	w.lease(named(id, "last of the free"))
	w.wantLease(named(id, "greedy"), web.String())
	w.wantLease(named(id, "greedier"), db.String())
	w.wantRefused(named(id, "web"), ipam.ErrExhausted, "14 of the 14")
	w.release(id, others[3])
	w.wantLease(named(id, "web"), others[3].String())
	w.wantSameAfterReopen()
}

func TestRequestAddress_staticAddressIsKeptForItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "172.25.1.0/24", "net")
	inside, outside := w.lease(static(id, "172.25.1.7", "in")), w.lease(static(id, "172.25.9.9", "out"))
	nameless := w.lease(static(id, "172.25.1.0", ""))
	for _, a := range []netip.Addr{inside, outside, nameless} {
		w.release(id, a)
	}
	w.wantLease(any4(id), "172.25.1.1") // not the nameless one that was released just now
	w.wantLease(named(id, "in"), "172.25.1.7")
	w.wantLease(named(id, "out"), "172.25.1.2") // the range bounds what is chosen here
	w.wantLease(static(id, "172.25.9.9", "out"), "172.25.9.9")
	w.wantLease(static(id, "172.25.1.0", ""), "172.25.1.0")
}

func TestRequestAddress_namelessRestartGetsTheLastAddressBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	a, b := w.lease(any4(id)), w.lease(any4(id))
	w.lease(any4(id))
	w.release(id, b)
	w.clock.advance(time.Second)
	w.release(id, a)
	w.wantLease(any4(id), a.String())
	w.wantLease(any4(id), b.String())
	w.release(id, b)
	w.open() // and over a restart of the plugin
	w.clock.advance(ipam.DefaultConfirm - 1)
	w.wantLease(any4(id), b.String())
	w.release(id, b)
	w.clock.advance(ipam.DefaultConfirm)
	w.wantLease(any4(id), "172.25.0.4") // too long ago: the search goes on upwards
}

func TestRequestAddress_searchGoesOnUpwardsAndAround(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/29", "", "net") // .1 to .6
	for i := 1; i <= 4; i++ {
		w.wantLease(any4(id), fmt.Sprintf("172.25.0.%d", i))
	}
	w.release(id, netip.MustParseAddr("172.25.0.2"))
	w.clock.advance(time.Hour)
	for _, want := range []string{"172.25.0.5", "172.25.0.6", "172.25.0.2"} {
		w.wantLease(any4(id), want)
	}
	w.wantRefused(any4(id), ipam.ErrExhausted)
}

func TestReleaseAddress_ofALiveEndpointIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	a := w.lease(named(id, "web"))
	w.bind(id, a, "ep1")
	w.bind(id, a, "ep1")
	wantError(t, w.BindAddress(id, a, "ep2"), ipam.ErrInUse, "ep1", a.String())
	w.release(id, a) // the roll-back of ep2
	w.UnbindAddress(id, a, "ep2")
	w.wantRefused(static(id, a.String(), "db"), ipam.ErrInUse, `container "web"`)
	w.clock.advance(time.Hour)
	w.sweep()
	w.wantRefused(static(id, a.String(), "db"), ipam.ErrInUse)
	w.UnbindAddress(id, a, "ep1")
	w.release(id, a)
	w.wantLease(static(id, a.String(), "db"), a.String())
	wantError(t, w.BindAddress(id, netip.MustParseAddr("172.25.0.77"), "ep"), ipam.ErrNotLeased, "172.25.0.77")
	gw := w.lease(gateway(id, "172.25.0.99"))
	wantError(t, w.BindAddress(id, gw, "ep"), ipam.ErrInUse, "gateway")
}

func TestRequestAddress_oneWriteEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("10.0.0.0/8", "", "net")
	for range 300 {
		w.lease(any4(id))
	}
	writes, ops := w.kv.counts()
	a := w.lease(named(id, "web"))
	w.release(id, a)
	if nowWrites, nowOps := w.kv.counts(); nowWrites != writes+2 || nowOps != ops+2 {
		t.Errorf("one lease and release took %d writes of %d keys, want 2 of 2", nowWrites-writes, nowOps-ops)
	}
}

func TestRequestAddress_oddNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	for _, name := range []string{strings.Repeat("n", 256), "\xff\xfe"} {
		a := w.lease(named(id, name))
		if again := w.lease(named(id, name)); again == a {
			t.Errorf("name %q cannot be kept, but was recognized", name)
		}
	}
	for _, name := range []string{"ü", "a/b", `"`, " ", strings.Repeat("n", 255)} {
		a := w.lease(named(id, name))
		w.wantSameAfterReopen()
		w.wantLease(named(id, name), a.String())
	}
}
