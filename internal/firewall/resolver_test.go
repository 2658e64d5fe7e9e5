package firewall_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/firewall"
)

// resolvers are those of the networks a, b and i.
func resolvers() []firewall.Resolver {
	var out []firewall.Resolver
	for _, letter := range []string{"a", "b", "i"} {
		for _, addr := range []string{gateway(letter + "1"), gateway6(letter + "1")} {
			out = append(out, firewall.Resolver{Bridge: "on-" + letter, Addr: netip.MustParseAddr(addr)})
		}
	}
	return out
}

// keep keeps resolvers, and asserts which of them may have been passed by.
func (l *lab) keep(t *testing.T, want, resumed []firewall.Resolver) {
	t.Helper()
	l.host.Run(t, func() error {
		got, err := l.table.KeepResolvers(t.Context(), want)
		if !slices.Equal(got, resumed) {
			t.Errorf("these may have been passed by: %v, want %v", got, resumed)
		}
		return err
	})
}

// whoAnswers names who answers at port 53 of an address: "ours", "the host's" or "nobody".
func (l *lab) whoAnswers(t *testing.T, from, network, addr string) string {
	t.Helper()
	var answer string
	l.namespace(from).Run(t, func() error {
		conn, err := net.DialTimeout(network, at(addr, 53), patience)
		if err != nil {
			answer = err.Error()
			return nil
		}
		defer conn.Close() //nolint:errcheck // all was read
		buf := make([]byte, 64)
		if _, err = conn.Write([]byte("?")); err == nil {
			var n int
			if err = conn.SetReadDeadline(time.Now().Add(patience)); err == nil {
				n, err = conn.Read(buf)
				answer = string(buf[:n])
			}
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			answer = "nobody"
		}
		return nil
	})
	if strings.Contains(answer, "refused") {
		return "nobody"
	}
	return answer
}

// whoAnswersAfter is [lab.whoAnswers] after something whose effect is over in
// [firewall.ResolverTime]. A machine that is too busy for that does both again.
func (l *lab) whoAnswersAfter(t *testing.T, do func(), from, network, addr string) (answer string) {
	t.Helper()
	for range 10 {
		begin := time.Now()
		do()
		if answer = l.whoAnswers(t, from, network, addr); time.Since(begin) < firewall.ResolverTime {
			return answer
		}
	}
	t.Errorf("this machine is too slow for the test: the last try was answered by %q", answer)
	return answer
}

// keepOneAfterTheOther keeps resolvers, then those of the next call, and so on; the
// calls follow each other within [firewall.ResolverTime]. It returns which of each may
// have been passed by.
func (l *lab) keepOneAfterTheOther(t *testing.T, calls ...[]firewall.Resolver) (resumed [][]firewall.Resolver) {
	t.Helper()
	for range 10 {
		begin := time.Now()
		resumed = nil
		l.host.Run(t, func() error {
			for _, want := range calls {
				got, err := l.table.KeepResolvers(t.Context(), want)
				if err != nil {
					return err
				}
				resumed = append(resumed, got)
			}
			return nil
		})
		if time.Since(begin) < firewall.ResolverTime {
			return resumed
		}
	}
	t.Errorf("this machine is too slow for the test")
	return resumed
}

// name has a server that answers with a name at an address of the host.
func (l *lab) name(t *testing.T, addr, name string) {
	t.Helper()
	var (
		tcp net.Listener
		udp net.PacketConn
	)
	l.host.Run(t, func() (err error) {
		var lc net.ListenConfig
		if tcp, err = lc.Listen(t.Context(), "tcp", addr); err != nil {
			return err
		}
		udp, err = lc.ListenPacket(t.Context(), "udp", addr)
		return err
	})
	done := make(chan struct{}, 2)
	t.Cleanup(func() {
		if err := errors.Join(tcp.Close(), udp.Close()); err != nil {
			t.Error(err)
		}
		<-done
		<-done
	})
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			_, werr := conn.Write([]byte(name))
			if err := errors.Join(werr, conn.Close()); err != nil {
				t.Error(err)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for buf := make([]byte, 16); ; {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := udp.WriteTo([]byte(name), from); err != nil {
				t.Error(err)
			}
		}
	}()
}

func TestKeepResolvers_queriesOfTheNetworkComeToUsWhileKept(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.set(t, wantState())
	// On a host with a name server of its own. It answers from the address that it was
	// asked at, so it has a socket for each.
	for _, addr := range []string{hostAddr, hostAddr6, gateway("r1")} {
		l.name(t, at(addr, 53), "the host's")
	}
	for _, r := range resolvers() {
		l.name(t, netip.AddrPortFrom(r.Addr, 53).String(), "the host's")
		l.name(t, netip.AddrPortFrom(r.Addr, firewall.ResolverPort).String(), "ours")
	}
	check := func(when string, do func(), want map[[2]string]string) {
		t.Helper()
		for who, name := range want {
			for _, network := range []string{"udp", "tcp"} {
				if got := l.whoAnswersAfter(t, do, who[0], network, who[1]); got != name {
					t.Errorf("%s, %s is answered over %s at %s by %q, want %q", when, who[0], network, who[1], got, name)
				}
			}
		}
	}
	all := resolvers()
	resumed := l.keepOneAfterTheOther(t, nil, all[1:], all, all)
	for i, want := range [][]firewall.Resolver{nil, all[1:], all[:1], nil} {
		if !slices.Equal(resumed[i], want) {
			t.Errorf("after call %d these may have been passed by: %v, want %v", i, resumed[i], want)
		}
	}
	check("while kept", func() { l.keepOneAfterTheOther(t, all) }, map[[2]string]string{
		{"a1", gateway("a1")}:    "ours",
		{"a2", gateway6("a1")}:   "ours",
		{"b1", gateway("b1")}:    "ours",
		{"i1", gateway("i1")}:    "ours",
		{"i1", gateway6("i1")}:   "ours",
		{"r1", gateway("r1")}:    "the host's",
		{"a1", gateway("b1")}:    "the host's", // of another network
		{"a1", hostAddr}:         "the host's",
		{"outside", hostAddr}:    "the host's",
		{"outside", hostAddr6}:   "the host's",
		{"host", gateway("a1")}:  "the host's",
		{"host", gateway6("a1")}: "the host's",
	})
	// The table is compared and made anew without a word of them.
	if changed := l.set(t, wantState()); len(changed) > 0 {
		t.Errorf("changed: %q", changed)
	}
	flush := func() { l.host.Exec(t, "nft", "delete", "table", "inet", "ournet") }
	check("after a flush", func() { flush(); l.keep(t, all[:2], all[:2]) }, map[[2]string]string{
		{"a1", gateway("a1")}: "ours", {"a1", gateway6("a1")}: "ours", {"b1", gateway("b1")}: "the host's",
	})
	check("made anew as a whole", func() { flush(); l.set(t, wantState()) }, map[[2]string]string{{"a2", gateway("a1")}: "ours"})
	l.keep(t, all[:1], all[:1])
	// Nobody keeps it.
	<-time.After(firewall.ResolverTime)
	check("when it is over", func() {}, map[[2]string]string{{"a1", gateway("a1")}: "the host's", {"a1", gateway6("a1")}: "the host's"})
	l.keep(t, all[:1], all[:1])
}

// Somebody publishes a name server of his on every address of the host.
func TestKeepResolvers_publishedPortComesFirst(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := wantState()
	for _, proto := range []uint8{6, 17} {
		want.Ports = append(want.Ports, firewall.Port{
			Protocol: proto, HostAddr: netip.IPv4Unspecified(), HostPort: 53, Addr: netip.MustParseAddr(addr4("c1")), Port: 80, Bridge: "on-c",
		})
	}
	l.set(t, want)
	l.name(t, netip.AddrPortFrom(netip.MustParseAddr(gateway("a1")), firewall.ResolverPort).String(), "ours")
	l.keep(t, resolvers(), resolvers())
	for _, network := range []string{"udp", "tcp"} {
		if got := l.whoAnswers(t, "a1", network, gateway("a1")); got != addr4("a1") {
			t.Errorf("over %s, the answer is %q, want that of the published server", network, got)
		}
	}
}

func TestKeepResolvers_whatIsNoAddressIsRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, r := range []firewall.Resolver{
		{Bridge: "on-a"}, {Bridge: "on-a", Addr: netip.MustParseAddr("fe80::1%on-a")}, {Addr: netip.MustParseAddr("10.0.0.1")},
	} {
		l.host.Run(t, func() error {
			if _, err := l.table.KeepResolvers(t.Context(), []firewall.Resolver{r}); err == nil {
				t.Errorf("%+v is kept", r)
			}
			return nil
		})
	}
}
