package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekgdns "github.com/miekg/dns"
)

func TestAnswer_ofEveryKindOfQuestion(t *testing.T) {
	t.Parallel()
	const (
		positive = "Success aa rd ra"
		none     = "forwarded"
	)
	for _, tc := range []struct {
		name   string
		asked  string
		qtype  uint16
		change func(*miekgdns.Msg)
		want   string
	}{
		{name: "A", asked: "web", qtype: typeA, want: positive + "\nweb. 5 10.0.0.2"},
		{name: "AAAA", asked: "web", qtype: typeAAAA, want: positive + "\nweb. 5 fd00::2"},
		{name: "letters are repeated", asked: "wEB.Lab", qtype: typeA, want: positive + "\nwEB.Lab. 5 10.0.0.2"},
		{name: "TTL of the network", asked: "db.back.end", qtype: typeA, want: positive + "\ndb.back.end. 2 10.1.0.3"},
		{name: "all of a shared name", asked: "app", qtype: typeA, want: positive + "\napp. 5 10.0.0.2\napp. 5 10.0.0.3\napp. 5 10.0.0.4"},
		{name: "no such family", asked: "far", qtype: typeAAAA, want: positive},
		{name: "SRV", asked: "web", qtype: miekgdns.TypeSRV, want: positive},
		{name: "MX", asked: "web", qtype: miekgdns.TypeMX, want: positive},
		{name: "HTTPS", asked: "web.lab", qtype: miekgdns.TypeHTTPS, want: positive},
		{name: "AXFR", asked: "web", qtype: miekgdns.TypeAXFR, want: positive},
		{name: "unassigned type", asked: "web", qtype: 65000, want: positive},
		{name: "ANY", asked: "web", qtype: typeANY, want: positive + "\nweb. 5 10.0.0.2\nweb. 5 fd00::2"},
		{name: "PTR", asked: "2.0.0.10.in-addr.arpa", qtype: typePTR, want: positive + "\n2.0.0.10.in-addr.arpa. 5 PTR web.\n2.0.0.10.in-addr.arpa. 5 PTR web.lab."},
		{
			name: "PTR of IPv6", asked: "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.D.f.ip6.ARPA", qtype: typePTR,
			want: positive + "\n4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.D.f.ip6.ARPA. 2 PTR six." +
				"\n4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.D.f.ip6.ARPA. 2 PTR six.back.end.",
		},
		{name: "A of an address's name", asked: "2.0.0.10.in-addr.arpa", qtype: typeA, want: positive},
		{name: "PTR of a name", asked: "web", qtype: typePTR, want: positive},
		{name: "PTR of an address of nobody", asked: "9.0.0.10.in-addr.arpa", qtype: typePTR, want: none},
		{name: "foreign name", asked: "example.com", qtype: typeA, want: none},
		{name: "foreign name of one label", asked: "printer", qtype: typeAAAA, want: none},
		{name: "root", asked: ".", qtype: miekgdns.TypeNS, want: none},
		{name: "a dot inside a label", asked: `web\.lab`, qtype: typeA, want: none},
		{name: "EDNS", asked: "web", qtype: typeA, change: withEDNS(1232), want: positive + "\nweb. 5 10.0.0.2\nopt 4096 do=false"},
		{name: "EDNS, none of that family", asked: "far", qtype: typeAAAA, change: withEDNS(1232), want: positive + "\nopt 4096 do=false"},
		{name: "EDNS with the bit DO", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.SetEdns0(1232, true) }, want: positive + "\nweb. 5 10.0.0.2\nopt 4096 do=true"},
		{name: "EDNS with an option", asked: "web", qtype: typeA, change: withCookie, want: positive + "\nweb. 5 10.0.0.2\nopt 4096 do=false"},
		{name: "EDNS of the future", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().SetVersion(1)
		}, want: "16 rd ra\nopt 4096 do=false"},
		{name: "EDNS twice", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) {
			m.SetEdns0(1232, false)
			m.SetEdns0(1232, false)
		}, want: "FormatError rd ra\nopt 4096 do=false"},
		{name: "no recursion, no checking", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) {
			m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = false, true, true
		}, want: "Success aa ra cd\nweb. 5 10.0.0.2"},
		{name: "class CHAOS", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.Question[0].Qclass = miekgdns.ClassCHAOS }, want: none},
		{name: "two questions", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.Question = append(m.Question, m.Question[0]) }, want: "FormatError rd ra"},
		{name: "no question", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.Question = nil }, want: "FormatError rd ra"},
		{name: "update", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.Opcode = miekgdns.OpcodeUpdate }, want: "NotImplemented rd ra"},
		{name: "an answer", asked: "web", qtype: typeA, change: func(m *miekgdns.Msg) { m.Response = true }, want: "ignored"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			msg := asked(tc.asked, tc.qtype)
			if tc.change != nil {
				msg = asked(tc.asked, tc.qtype, tc.change)
			}
			reply, v := newService(office()).answer(msg, overUDP, netip.Addr{}, nil)
			got := map[verdict]string{ignored: "ignored", forwarded: "forwarded"}[v]
			if v == answered {
				checkReply(t, msg, reply, overUDP)
				got = shown(t, reply)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer to %s (-want +got):\n%s", tc.asked, diff)
			}
		})
	}
}

func withCookie(m *miekgdns.Msg) {
	m.SetEdns0(1232, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &miekgdns.EDNS0_COOKIE{Code: miekgdns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
}

func TestAnswer_aSandboxThatIsNotKnownOwnsNothing(t *testing.T) {
	t.Parallel()
	if _, v := newService(NewRecords()).answer(asked("web", typeA), overUDP, netip.Addr{}, nil); v != forwarded {
		t.Errorf("verdict = %d, want forwarded", v)
	}
}

func TestAnswer_malformed(t *testing.T) {
	t.Parallel()
	good := asked("web", typeA)
	with := func(change func(b []byte) []byte) []byte { return change(append([]byte(nil), good...)) }
	for _, tc := range []struct {
		name string
		msg  []byte
		want string
	}{
		{"nothing", nil, "ignored"},
		{"half a header", good[:11], "ignored"},
		{"header alone", good[:12], "FormatError rd ra"},
		{"half a question", good[:15], "FormatError rd ra"},
		{"no class", good[:len(good)-1], "FormatError rd ra"},
		{"pointer to itself", with(func(b []byte) []byte { b[12], b[13] = 0xc0, 12; return b }), "FormatError rd ra"},
		{"unknown kind of label", with(func(b []byte) []byte { b[12] = 0x41; return b }), "FormatError rd ra"},
		{"label longer than the message", with(func(b []byte) []byte { b[12] = 40; return b }), "FormatError rd ra"},
		{"name of 256 bytes", longName(256), "FormatError rd ra"},
		{"name of 255 bytes", longName(255), "forwarded"},
		{"more records than there are", with(func(b []byte) []byte { b[11] = 9; return b }), "Success aa rd ra\nweb. 5 10.0.0.2"},
		{"half a record", with(func(b []byte) []byte { b[11] = 1; return append(b, 0, 0, typeOPT) }), "FormatError rd ra"},
		{"bytes after the end", with(func(b []byte) []byte { return append(b, 1, 2, 3) }), "Success aa rd ra\nweb. 5 10.0.0.2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reply, v := newService(office()).answer(tc.msg, overUDP, netip.Addr{}, nil)
			got := map[verdict]string{ignored: "ignored", forwarded: "forwarded"}[v]
			if v == answered {
				got = shown(t, reply)
			}
			if got != tc.want {
				t.Errorf("answer = %q, want %q", got, tc.want)
			}
		})
	}
}

// longName is a query whose name takes that many bytes.
func longName(size int) []byte {
	msg := append([]byte(nil), asked("x", typeA)[:12]...)
	for left := size - 1; left > 0; {
		n := min(left, 64)
		if left-n == 1 {
			n-- // a label of no byte would be the end
		}
		msg = append(msg, byte(n-1))
		msg = append(msg, strings.Repeat("x", n-1)...)
		left -= n
	}
	return append(msg, 0, 0, 1, 0, 1)
}

// crowd returns records in which one name has n addresses.
func crowd(n int) *Records {
	r := NewRecords()
	r.SetNetwork(Network{ID: "n1", Name: "lab", TTL: labTTL})
	ep := Endpoint{ID: "e", Name: "crowd"}
	for i := range n {
		ep.Addrs = append(ep.Addrs, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	r.Replace("n1", "h1", []Endpoint{ep})
	r.SetSandbox(box, Sandbox{Networks: []NetworkID{"n1"}})
	return r
}

func TestAnswer_thatDoesNotFitSaysSo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		addresses int
		size      uint16
		tr        transport
		want      int
		truncated bool
	}{
		{addresses: 30, want: 30},
		{addresses: 31, want: 30, truncated: true},
		{addresses: 100, size: 100, want: 29, truncated: true}, // less than 512 is 512 (RFC 6891 s6.2.3)
		{addresses: 100, size: 1232, want: 74, truncated: true},
		{addresses: 74, size: 1232, want: 74},
		{addresses: 500, size: 65535, want: 253, truncated: true},
		{addresses: 500, tr: overTCP, want: 500},
		{addresses: 500, size: 1232, tr: overTCP, want: 500},
		{addresses: 5000, tr: overTCP, want: 4094, truncated: true},
	} {
		t.Run(fmt.Sprintf("%d into %d", tc.addresses, tc.size), func(t *testing.T) {
			t.Parallel()
			msg := asked("crowd", typeA)
			if tc.size > 0 {
				msg = asked("crowd", typeA, withEDNS(tc.size))
			}
			reply, _ := newService(crowd(tc.addresses)).answer(msg, tc.tr, netip.Addr{}, nil)
			checkReply(t, msg, reply, tc.tr)
			var m miekgdns.Msg
			if err := m.Unpack(reply); err != nil {
				t.Fatal(err)
			}
			if len(m.Answer) != tc.want || m.Truncated != tc.truncated {
				t.Errorf("%d addresses, truncated %t; want %d, %t", len(m.Answer), m.Truncated, tc.want, tc.truncated)
			}
		})
	}
}

// corpus is every kind of query for every kind of name.
func corpus() [][]byte {
	var all [][]byte
	for _, name := range []string{"web", "WEB.lab", "app", "far", "six", "store", "db.back.end", "crowd", "2.0.0.10.in-addr.arpa"} {
		for _, qtype := range []uint16{typeA, typeAAAA, typePTR, typeANY, miekgdns.TypeSRV} {
			for _, change := range []func(*miekgdns.Msg){
				func(*miekgdns.Msg) {}, withEDNS(0), withEDNS(512), withEDNS(1232), withEDNS(4096), withEDNS(65535), withCookie,
				func(m *miekgdns.Msg) { m.SetEdns0(1400, true) },
				func(m *miekgdns.Msg) { m.RecursionDesired = false },
				func(m *miekgdns.Msg) { m.CheckingDisabled, m.AuthenticatedData, m.Zero = true, true, true },
			} {
				all = append(all, asked(name, qtype, change))
			}
		}
	}
	return all
}

// The short way and the library's must give the same answers, whichever of the two
// libraries reads them.
func TestAnswer_inPlaceIsWhatTheLibraryMakes(t *testing.T) {
	t.Parallel()
	short := 0
	for _, msg := range corpus() {
		for _, tr := range []transport{overUDP, overTCP} {
			short += sameBothWays(t, msg, tr)
		}
	}
	if short == 0 {
		t.Error("no query was answered in place")
	}
}

// sameBothWays compares the two ways, and returns 1 if the short one took the query.
func sameBothWays(t testing.TB, msg []byte, tr transport) int {
	t.Helper()
	// Records of their own, so that both begin with the same address.
	one, other := crowded(), crowded()
	q, v, _ := readQuery(msg, new(nameBuffer))
	if v != forwarded {
		return 0
	}
	fast, ok := q.answer(one.view(box), tr, nil)
	if !ok {
		return 0
	}
	full := other.view(box).full(msg, tr)
	checkReply(t, msg, fast, tr)
	checkReply(t, msg, full, tr)
	if diff := cmp.Diff(shown(t, full), shown(t, fast)); diff != "" {
		t.Fatalf("answers to %x (-library +in place):\n%s", msg, diff)
	}
	var a, b miekgdns.Msg
	if a.Unpack(fast) != nil || b.Unpack(full) != nil || a.String() != b.String() {
		t.Fatalf("answers to %x: in place\n%s\nlibrary\n%s", msg, a.String(), b.String())
	}
	return 1
}

// crowded is [office] with a name that does not fit into a packet.
func crowded() *Records {
	r := office()
	r.Replace("n2", "h2", crowd(300).parts["n1"]["h1"])
	return r
}

func TestAnswer_inPlaceTakesNoMemory(t *testing.T) {
	s := newService(office())
	out := make([]byte, 0, maxUDP)
	for _, msg := range [][]byte{asked("web", typeA), asked("app.lab", typeA, withEDNS(1232)), asked("far", typeAAAA), asked("store", typeA)} {
		if n := testing.AllocsPerRun(100, func() { s.answer(msg, overUDP, netip.Addr{}, out) }); n > 0 {
			t.Errorf("%g allocations for %x", n, msg)
		}
	}
}

func TestAnswer_aPanicCostsOneQuery(t *testing.T) {
	t.Parallel()
	r := office()
	s := newService(r)
	r.snapshot.Store(&snapshot{views: map[SandboxKey]*view{box: {zones: []*zone{nil}}}})
	msg := asked("web", typeA)
	for range 2 {
		reply, v := s.answer(msg, overUDP, netip.Addr{}, nil)
		if v != answered || shown(t, reply) != "ServerFailure rd ra" {
			t.Fatalf("verdict %d, answer %x", v, reply)
		}
	}
	r.SetNetwork(Network{ID: "n1", Name: "lab"}) // builds the view anew
	if reply, _ := s.answer(msg, overUDP, netip.Addr{}, nil); shown(t, reply) != "Success aa rd ra\nweb. 0 10.0.0.2" {
		t.Errorf("the next answer is %s", shown(t, reply))
	}
}

func BenchmarkAnswer(b *testing.B) {
	s := newService(office())
	out := make([]byte, 0, maxUDP)
	for name, msg := range map[string][]byte{
		"A": asked("web", typeA), "shared": asked("app.lab", typeA, withEDNS(1232)), "cookie": asked("web", typeA, withCookie),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.answer(msg, overUDP, netip.Addr{}, out)
			}
		})
	}
}
