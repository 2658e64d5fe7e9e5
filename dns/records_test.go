package dns

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const box = SandboxKey("/run/docker/netns/0123456789ab")

// lookup returns what the sandbox finds, in the order of one answer.
func lookup(r *Records, name string, f family) (addrs []string, owned bool) {
	v := r.view(box)
	if v == nil {
		return nil, false
	}
	got := v.find([]byte(name), f)
	if got.set == nil {
		return nil, got.owned
	}
	size := f.size()
	count := len(got.set.rdata) / size
	first := got.set.first(count)
	for i := range count {
		at := (first + i) % count * size
		a, _ := netip.AddrFromSlice(got.set.rdata[at : at+size])
		addrs = append(addrs, a.String())
	}
	return addrs, got.owned
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// office returns records with two networks: lab on two hosts, and backend.
func office() *Records {
	r := NewRecords()
	r.SetNetwork(Network{ID: "n1", Name: "lab", TTL: labTTL})
	r.SetNetwork(Network{ID: "n2", Name: "Back.End", TTL: 2 * time.Second})
	r.Replace("n1", "h1", []Endpoint{
		{ID: "e1", Name: "web", Aliases: []string{"app", "0123456789ab", "Front", "web"}, Addrs: addrs("10.0.0.2", "fd00::2")},
		{ID: "e2", Name: "db", Aliases: []string{"app", "db.internal"}, Addrs: addrs("10.0.0.3")},
	})
	r.Replace("n1", "h2", []Endpoint{{ID: "e3", Name: "far", Aliases: []string{"app"}, Addrs: addrs("10.0.0.4")}})
	r.Replace("n2", "h1", []Endpoint{
		{ID: "e4", Name: "db", Addrs: addrs("10.1.0.3", "fd01::3")},
		{ID: "e5", Name: "six", Addrs: addrs("fd01::4")},
	})
	r.SetSandbox(box, Sandbox{Networks: []NetworkID{"n1", "n2"}, Links: []Link{
		{Network: "n2", Alias: "Store", Target: "db"},
		{Network: "n1", Alias: "six", Target: "web"},
		{Network: "n1", Alias: "nowhere", Target: "gone"},
		{Network: "n9", Alias: "foreign", Target: "web"},
	}})
	return r
}

func TestRecords_answerEveryNameOfAnEndpoint(t *testing.T) {
	t.Parallel()
	r := office()
	for _, tc := range []struct {
		name  string
		asked string
		f     family
		want  []string
		owned bool
	}{
		{"container name", "web", ipv4, []string{"10.0.0.2"}, true},
		{"in the other family", "web", ipv6, []string{"fd00::2"}, true},
		{"name and network", "web.lab", ipv4, []string{"10.0.0.2"}, true},
		{"short id", "0123456789ab", ipv4, []string{"10.0.0.2"}, true},
		{"hostname in capitals", "front", ipv4, []string{"10.0.0.2"}, true},
		{"alias with a dot", "db.internal", ipv4, []string{"10.0.0.3"}, true},
		{"alias with a dot and network", "db.internal.lab", ipv4, []string{"10.0.0.3"}, true},
		{"alias shared by hosts", "app", ipv4, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}, true},
		{"alias that only one has in that family", "app", ipv6, []string{"fd00::2"}, true},
		{"first network wins", "db", ipv4, []string{"10.0.0.3"}, true},
		{"first network with the family wins", "db", ipv6, []string{"fd01::3"}, true},
		{"network in capitals and with a dot", "db.back.end", ipv4, []string{"10.1.0.3"}, true},
		{"name without that family", "far", ipv6, nil, true},
		{"link", "store", ipv4, []string{"10.1.0.3"}, true},
		{"link and network", "store.back.end", ipv4, []string{"10.1.0.3"}, true},
		{"link on another network", "store.lab", ipv4, nil, false},
		{"link before name", "six", ipv6, []string{"fd00::2"}, true},
		{"link to nobody", "nowhere", ipv4, nil, false},
		{"link on a network that it is not on", "foreign", ipv4, nil, false},
		{"unknown", "example.com", ipv4, nil, false},
		{"below a name", "x.web", ipv4, nil, false},
		{"network alone", "lab", ipv4, nil, false},
		{"dot and network", ".lab", ipv4, nil, false},
		{"root", "", ipv4, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, owned := lookup(r, tc.asked, tc.f)
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" || owned != tc.owned {
				t.Errorf("find %q = owned %t, want %t; addresses (-want +got):\n%s", tc.asked, owned, tc.owned, diff)
			}
		})
	}
}

func TestRecords_linksAreOfOneSandbox(t *testing.T) {
	t.Parallel()
	r := office()
	r.SetSandbox("other", Sandbox{Networks: []NetworkID{"n1", "n2"}})
	if got := r.view("other").find([]byte("store"), ipv4); got.owned {
		t.Error("another sandbox has the link")
	}
	if got := r.view("other").find([]byte("db.back.end"), ipv4); !got.owned || got.ttl != 2 {
		t.Errorf("find db.back.end = %+v, want it with the network's TTL of 2 s", got)
	}
}

func TestRecords_namesOfOtherNetworksAreNotSeen(t *testing.T) {
	t.Parallel()
	r := office()
	r.SetSandbox(box, Sandbox{Networks: []NetworkID{"n2"}})
	if _, owned := lookup(r, "web", ipv4); owned {
		t.Error("a name of a network that the sandbox is not on")
	}
	r.RemoveSandbox(box)
	if _, owned := lookup(r, "six", ipv6); owned {
		t.Error("a sandbox that was removed owns a name")
	}
}

func TestRecords_answersRotate(t *testing.T) {
	t.Parallel()
	r := office()
	r.Replace("n1", "h2", []Endpoint{{ID: "e3", Name: "far", Aliases: []string{"app"}, Addrs: addrs("10.0.0.4", "fd00::4")}})
	var first, first6 []string
	for range 6 {
		got, _ := lookup(r, "app", ipv4)
		first = append(first, got[0])
		got6, _ := lookup(r, "app", ipv6)
		first6 = append(first6, got6[0])
	}
	want := []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first addresses (-want +got):\n%s", diff)
	}
	want6 := []string{"fd00::2", "fd00::4", "fd00::2", "fd00::4", "fd00::2", "fd00::4"}
	if diff := cmp.Diff(want6, first6); diff != "" {
		t.Errorf("first IPv6 addresses, asked for in turn with IPv4 (-want +got):\n%s", diff)
	}
}

func TestRecords_suspectHostIsWithdrawnAndComesBack(t *testing.T) {
	t.Parallel()
	r := office()
	r.SetSuspect("h2", true)
	if got, _ := lookup(r, "app", ipv4); len(got) != 2 {
		t.Errorf("app = %v while a host is suspect, want the other host's two", got)
	}
	if _, owned := lookup(r, "far", ipv4); owned {
		t.Error("a name of the suspect host is owned")
	}
	// What is learned meanwhile counts once the host is back.
	r.Replace("n1", "h2", []Endpoint{{ID: "e6", Name: "new", Aliases: []string{"app"}, Addrs: addrs("10.0.0.6")}})
	if _, owned := lookup(r, "new", ipv4); owned {
		t.Error("a new name of the suspect host is owned")
	}
	r.SetSuspect("h2", false)
	if got, _ := lookup(r, "new", ipv4); !slices.Equal(got, []string{"10.0.0.6"}) {
		t.Errorf("new = %v after the host is back", got)
	}
	if got, _ := lookup(r, "app", ipv4); len(got) != 3 {
		t.Errorf("app = %v after the host is back, want three", got)
	}
}

func TestRecords_stoppedContainerIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	r := office()
	r.Replace("n1", "h2", nil)
	if got, _ := lookup(r, "app", ipv4); len(got) != 2 {
		t.Errorf("app = %v, want two", got)
	}
	if _, owned := lookup(r, "far", ipv4); owned {
		t.Error("the name is still owned")
	}
	if len(r.parts["n1"]) != 1 {
		t.Errorf("%d hosts are remembered, want 1", len(r.parts["n1"]))
	}
}

func TestRecords_reverseGivesTheBareNameFirst(t *testing.T) {
	t.Parallel()
	r := office()
	for _, tc := range []struct {
		addr string
		want []reverse
	}{
		{"10.0.0.2", []reverse{{"web", 5}, {"web.lab", 5}}},
		{"fd01::3", []reverse{{"db", 2}, {"db.back.end", 2}}},
		{"10.0.0.9", nil},
	} {
		got := r.view(box).reverse(netip.MustParseAddr(tc.addr))
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(reverse{})); diff != "" {
			t.Errorf("names of %s (-want +got):\n%s", tc.addr, diff)
		}
	}
}

func TestRecords_skipWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	r := NewRecords()
	r.SetNetwork(Network{ID: "n1", Name: "a..b", TTL: -time.Second})
	r.Replace("n1", "h1", []Endpoint{{
		ID: "e1", Name: "ok", Aliases: []string{"", "a..b", `a\b`, "a b", "größe", "dot."},
		Addrs: []netip.Addr{{}, netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")},
	}})
	r.SetSandbox(box, Sandbox{Networks: []NetworkID{"n1", "n1"}})
	var names []string
	for name := range r.zones["n1"].owners {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"dot", "größe", "ok"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for f, want := range map[family]string{ipv4: "10.0.0.1", ipv6: "fe80::1"} {
		if got, _ := lookup(r, "ok", f); !slices.Equal(got, []string{want}) {
			t.Errorf("ok = %v, want %s", got, want)
		}
	}
}

func TestCanonical_knowsTheLimits(t *testing.T) {
	t.Parallel()
	label := func(n int) string { return string(slices.Repeat([]byte("a"), n)) }
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{label(63), true},
		{label(64), false},
		{label(63) + "." + label(63) + "." + label(63) + "." + label(61), true},
		{label(63) + "." + label(63) + "." + label(63) + "." + label(62), false},
	} {
		if _, ok := canonical(tc.name); ok != tc.ok {
			t.Errorf("canonical of %d bytes = %t, want %t", len(tc.name), ok, tc.ok)
		}
	}
}

func TestReverseAddr_readsBothFamilies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, want string }{
		{"4.3.2.1.in-addr.arpa", "1.2.3.4"},
		{"0.0.168.192.in-addr.arpa", "192.168.0.0"},
		{"3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f", ""},
		{"3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa", "fd01::3"},
		{"3.2.1.in-addr.arpa", ""},
		{"256.3.2.1.in-addr.arpa", ""},
		{"04.3.2.1.in-addr.arpa", ""},
		{".3.2.1.in-addr.arpa", ""},
		{"x.3.2.1.in-addr.arpa", ""},
		{"in-addr.arpa", ""},
		{"ip6.arpa", ""},
		{"g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa", ""},
	} {
		got, ok := reverseAddr([]byte(tc.name))
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("reverseAddr(%s) = %s, %t, want %q", tc.name, got, ok, tc.want)
		}
	}
}
