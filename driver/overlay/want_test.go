package overlay

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

func TestInnerMTU_isLessTheHeadersOfTheTunnel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		underlay int
		vtep     string
		want     int
	}{
		{1500, "192.0.2.1", 1450},
		{1500, "2001:db8::1", 1430},
		{9000, "192.0.2.1", 8950},
		{65536, "127.0.0.1", 65486},
		{1 << 20, "2001:db8::1", 65535},
	} {
		if got := innerMTU(tc.underlay, netip.MustParseAddr(tc.vtep)); got != tc.want {
			t.Errorf("innerMTU(%d, %s) = %d, want %d", tc.underlay, tc.vtep, got, tc.want)
		}
	}
}

func testView() view {
	return view{
		network: driver.Network{ID: "0123456789abcdef", Overlay: &driver.Overlay{VNI: 0xabc}},
		own:     netip.MustParseAddr("192.0.2.1"),
	}
}

func peer(vtep string, mac byte, addrs ...string) Peer {
	p := Peer{MAC: driver.MAC{2, 0, 0, 0, 0, mac}, VTEP: netip.MustParseAddr(vtep)}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParseAddr(a))
	}
	return p
}

func local(mac byte, addr string) driver.Endpoint {
	return driver.Endpoint{ID: "e0123456789abcdef", MAC: driver.MAC{2, 0, 0, 0, 0, mac}, Address: netip.MustParsePrefix(addr)}
}

func texts(entries map[key]link.Entry) []string {
	var all []string
	for e := range maps.Values(entries) {
		all = append(all, e.String())
	}
	slices.Sort(all)
	return all
}

func TestWantEntries_areWhatMembersPeersAndOwnEndpointsNeed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		view func(*view)
		want []string
	}{
		{"nobody", func(*view) {}, nil},
		{"a host without containers", func(v *view) {
			v.members = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
		}, []string{"00:00:00:00:00:00 dev onx000abc dst 192.0.2.2"}},
		{"a container elsewhere", func(v *view) { v.peers = []Peer{peer("192.0.2.2", 1, "10.1.0.2", "fd00::2")} }, []string{
			"02:00:00:00:00:01 dev onx000abc", "02:00:00:00:00:01 dev onx000abc dst 192.0.2.2",
			"10.1.0.2 lladdr 02:00:00:00:00:01 dev on-0123456789ab", "fd00::2 lladdr 02:00:00:00:00:01 dev on-0123456789ab",
		}},
		{"a container here", func(v *view) { v.local = []driver.Endpoint{local(1, "10.1.0.2/24")} }, []string{
			"02:00:00:00:00:01 dev onve0123456789", "10.1.0.2 lladdr 02:00:00:00:00:01 dev on-0123456789ab",
		}},
		{"a container here that is said to be elsewhere", func(v *view) {
			v.local = []driver.Endpoint{local(1, "10.1.0.2/24")}
			v.peers = []Peer{peer("192.0.2.2", 1, "10.1.0.2")}
		}, []string{
			"02:00:00:00:00:01 dev onve0123456789", "10.1.0.2 lladdr 02:00:00:00:00:01 dev on-0123456789ab",
		}},
		{"hosts that cannot be sent to", func(v *view) {
			v.members = []netip.Addr{v.own, netip.MustParseAddr("2001:db8::2"), {}}
			v.peers = []Peer{peer("192.0.2.1", 1, "10.1.0.2"), peer("2001:db8::2", 2, "10.1.0.3"), {}}
		}, nil},
		{"containers without a MAC address", func(v *view) {
			v.local = []driver.Endpoint{local(0, "10.1.0.2/24")}
			v.local[0].MAC = driver.MAC{}
			v.peers = []Peer{{VTEP: netip.MustParseAddr("192.0.2.2"), Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.3")}}}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := testView()
			tc.view(&v)
			if diff := cmp.Diff(tc.want, texts(wantEntries(v))); diff != "" {
				t.Errorf("wantEntries (-want +got):\n%s", diff)
			}
		})
	}
}

// drawView draws what a host may be told, with addresses that are claimed twice.
func drawView(t *rapid.T) view {
	v := testView()
	vteps := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::2"}
	addrs := []string{"10.1.0.2", "10.1.0.3", "fd00::2"}
	for range rapid.IntRange(0, 5).Draw(t, "peers") {
		v.peers = append(v.peers, peer(rapid.SampledFrom(vteps).Draw(t, "vtep"), rapid.ByteRange(1, 3).Draw(t, "mac"), rapid.SampledFrom(addrs).Draw(t, "addr")))
	}
	for _, vtep := range rapid.SliceOfDistinct(rapid.SampledFrom(vteps), rapid.ID).Draw(t, "members") {
		v.members = append(v.members, netip.MustParseAddr(vtep))
	}
	if rapid.Bool().Draw(t, "own endpoint") {
		v.local = append(v.local, local(rapid.ByteRange(1, 3).Draw(t, "own mac"), rapid.SampledFrom(addrs[:2]).Draw(t, "own addr")+"/24"))
	}
	return v
}

// What is wanted does not depend on the order in which it was told, and the difference
// leads from anything to anything.
func TestWantEntries_orderDoesNotMatterAndDifferenceLeadsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		v := drawView(rt)
		want := wantEntries(v)
		shuffled := v
		shuffled.peers = rapid.Permutation(v.peers).Draw(rt, "order")
		if again := wantEntries(shuffled); !maps.Equal(want, again) {
			rt.Fatalf("in another order: %q, want %q", texts(again), texts(want))
		}
		have := wantEntries(drawView(rt))
		put, take := difference(have, want)
		for _, e := range put {
			have[keyOf(e)] = e // as Put does
		}
		for _, e := range take {
			if have[keyOf(e)] != e {
				rt.Fatalf("%s is to be taken, which is not there", e)
			}
			delete(have, keyOf(e))
		}
		if !maps.Equal(have, want) {
			rt.Fatalf("the difference leads to %q, want %q", texts(have), texts(want))
		}
	})
}
