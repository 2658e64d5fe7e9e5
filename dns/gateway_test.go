package dns

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	miekgdns "github.com/miekg/dns"

	"github.com/ournet/ournet/internal/netnstest"
)

// door is a responder at the gateway 10.0.0.1 of the network lab.
type door struct {
	*place
	servers []*upstream
}

// openDoor has these servers be asked for what is not owned, in this order.
func openDoor(t *testing.T, r *Records, opts Options, servers ...func(network string, msg []byte) []byte) *door {
	t.Helper()
	d := &door{place: &place{t: t, ns: netnstest.New(t)}}
	for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"} {
		d.ns.Exec(t, "ip", "addr", "add", a+"/24", "dev", "lo")
	}
	var dials []Dial
	for _, answer := range servers {
		u := &upstream{t: t, ns: d.ns, answer: answer}
		u.listen()
		t.Cleanup(u.close)
		d.servers = append(d.servers, u)
		dials = append(dials, u.dial)
	}
	g := Gateway{Servers: func() []Dial { return dials }}
	d.ns.Run(t, func() (err error) {
		if g.UDP, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1)}); err != nil {
			return err
		}
		g.TCP, err = net.Listen("tcp4", "10.0.0.1:0")
		return err
	})
	d.udp, d.tcp = g.UDP.LocalAddr(), g.TCP.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(quiet(), r, opts).ServeGateway(ctx, "n1", g) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return d
}

// from opens a connection from an address.
func (d *door) from(addr string, network string) net.Conn {
	d.t.Helper()
	to := d.udp
	local := net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if network == "tcp" {
		to, local = d.tcp, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0))
	}
	var conn net.Conn
	d.ns.Run(d.t, func() (err error) {
		conn, err = (&net.Dialer{LocalAddr: local}).DialContext(context.Background(), network, to.String())
		return err
	})
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// shows asserts what is answered to an address, over both transports.
func (d *door) shows(addr, name string, qtype uint16, want string) {
	d.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		if got := shown(d.t, ask(d.t, d.from(addr, network), asked(name, qtype))); got != want {
			d.t.Errorf("to %s over %s, %s is answered by %s, want %s", addr, network, name, got, want)
		}
	}
}

// guests returns office's records, with 10.0.0.2 and 10.0.0.3 on the network n1.
func guests() *Records {
	r := office()
	r.SetSandbox(box, Sandbox{
		Networks: []NetworkID{"n1", "n2"}, Addrs: map[NetworkID][]netip.Addr{"n1": addrs("10.0.0.2"), "n2": addrs("10.1.0.3")},
		Links: []Link{{Network: "n2", Alias: "store", Target: "db"}},
	})
	r.SetSandbox("other", Sandbox{Networks: []NetworkID{"n1"}, Addrs: map[NetworkID][]netip.Addr{"n1": addrs("10.0.0.3")}, Confined: true})
	return r
}

// found answers every query with 192.0.2.1.
func foundElsewhere(_ string, msg []byte) []byte {
	reply := append([]byte{msg[0], msg[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, msg[12:]...)
	return append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}

const elsewhere = "Success rd ra\nexample.com. 60 192.0.2.1"

func withCode(rcode byte) func(string, []byte) []byte {
	return func(_ string, msg []byte) []byte {
		return append([]byte{msg[0], msg[1], 0x81, 0x80 | rcode}, msg[4:]...)
	}
}

func silent(string, []byte) []byte { return nil }

func TestGateway_answersAreThoseOfTheAskersSandbox(t *testing.T) {
	t.Parallel()
	d := openDoor(t, guests(), Options{}, foundElsewhere)
	d.shows("10.0.0.2", "web", typeA, "Success aa rd ra\nweb. 5 10.0.0.2")
	d.shows("10.0.0.2", "WEB.lab", typeAAAA, "Success aa rd ra\nWEB.lab. 5 fd00::2")
	d.shows("10.0.0.2", "web", miekgdns.TypeMX, "Success aa rd ra")
	d.shows("10.0.0.2", "2.0.0.10.in-addr.arpa", typePTR, "Success aa rd ra\n2.0.0.10.in-addr.arpa. 5 PTR web.\n2.0.0.10.in-addr.arpa. 5 PTR web.lab.")
	d.shows("10.0.0.2", "store", typeA, "Success aa rd ra\nstore. 2 10.1.0.3")
	d.shows("10.0.0.2", "db.back.end", typeA, "Success aa rd ra\ndb.back.end. 2 10.1.0.3")
	d.shows("10.0.0.2", "example.com", typeA, elsewhere)
	// Another is on one network only, has no link and no way out.
	d.shows("10.0.0.3", "web", typeA, "Success aa rd ra\nweb. 5 10.0.0.2")
	seen := len(d.servers[0].waitSeen(2))
	for _, name := range []string{"store", "db.back.end", "example.com"} {
		d.shows("10.0.0.3", name, typeA, "ServerFailure rd ra")
	}
	if now := len(d.servers[0].waitSeen(seen)); now != seen {
		t.Errorf("%d queries of one without a way out went out", now-seen)
	}
}

func TestGateway_whoHasNoAddressThereIsRefused(t *testing.T) {
	t.Parallel()
	r := guests()
	d := openDoor(t, r, Options{}, foundElsewhere)
	for _, name := range []string{"web", "example.com"} {
		d.shows("10.0.0.9", name, typeA, "Refused rd ra")
	}
	// The address of a container that is gone, which another gets then.
	r.RemoveSandbox(box)
	d.shows("10.0.0.2", "web", typeA, "Refused rd ra")
	r.SetSandbox("third", Sandbox{Networks: []NetworkID{"n1"}, Addrs: map[NetworkID][]netip.Addr{"n1": addrs("10.0.0.2")}})
	d.shows("10.0.0.2", "far", typeA, "Success aa rd ra\nfar. 5 10.0.0.4")
	// An address of it on another network is nobody's here.
	r.SetSandbox("third", Sandbox{Networks: []NetworkID{"n1"}, Addrs: map[NetworkID][]netip.Addr{"n2": addrs("10.0.0.2")}})
	d.shows("10.0.0.2", "far", typeA, "Refused rd ra")
}

func TestGateway_addressThatTwoSayTheyHaveIsTheLastOnes(t *testing.T) {
	t.Parallel()
	r := NewRecords()
	at := map[NetworkID][]netip.Addr{"n1": addrs("10.0.0.2")}
	r.SetSandbox("one", Sandbox{Addrs: at})
	r.SetSandbox("two", Sandbox{Addrs: at})
	r.RemoveSandbox("one")
	if v := r.viewOf("n1", at["n1"][0]); v == nil || v != r.view("two") {
		t.Errorf("the view is %v, want that of the second", v)
	}
	r.RemoveSandbox("two")
	if v := r.viewOf("n1", at["n1"][0]); v != nil || len(r.snapshot.Load().guests) != 0 {
		t.Errorf("the view is %v, want none", v)
	}
}

func TestGateway_nextServerIsAskedWhenOneHasNoAnswer(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(string, []byte) []byte{
		"silence": silent, "failure": withCode(rcodeServer), "refusal": withCode(rcodeRefused),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := openDoor(t, guests(), Options{ServerTimeout: 20 * time.Millisecond}, first, foundElsewhere)
			d.shows("10.0.0.2", "example.com", typeA, elsewhere)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		d := openDoor(t, guests(), Options{}, silent, foundElsewhere)
		d.servers[0].close()
		d.shows("10.0.0.2", "example.com", typeA, elsewhere)
	})
	t.Run("the last has none either", func(t *testing.T) {
		t.Parallel()
		d := openDoor(t, guests(), Options{}, withCode(rcodeServer), withCode(rcodeRefused))
		d.shows("10.0.0.2", "example.com", typeA, "Refused rd ra")
	})
	t.Run("a denial is an answer", func(t *testing.T) {
		t.Parallel()
		d := openDoor(t, guests(), Options{}, denial, foundElsewhere)
		d.shows("10.0.0.2", "example.com", typeA, "NameError rd")
	})
	t.Run("there is none", func(t *testing.T) {
		t.Parallel()
		openDoor(t, guests(), Options{}).shows("10.0.0.2", "example.com", typeA, "ServerFailure rd ra")
	})
}

// A container has joined, and the engine has not said yet what it is called.
func TestGateway_nothingIsDeniedThatMayBeOurs(t *testing.T) {
	t.Parallel()
	r := guests()
	joined := []Endpoint{{ID: "e9", Addrs: addrs("10.0.0.9")}}
	r.Replace("n1", "here", joined)
	asking := make(chan struct{}, 8)
	d := openDoor(t, r, Options{}, func(network string, msg []byte) []byte {
		if strings.Contains(string(msg), "example") {
			return foundElsewhere(network, msg)
		}
		defer func() { asking <- struct{}{} }()
		return denial(network, msg)
	})
	// What exists is not held up.
	d.shows("10.0.0.2", "example.com", typeA, elsewhere)
	for _, network := range []string{"udp", "tcp"} {
		mine, foreign := d.from("10.0.0.2", network), d.from("10.0.0.2", network)
		send(t, mine, asked("late", typeA))
		send(t, foreign, asked("no.such.name", typeA))
		<-asking
		<-asking
		r.Replace("n1", "here", []Endpoint{{ID: "e9", Name: "late", Addrs: addrs("10.0.0.9")}})
		if got := shown(t, receive(t, mine)); got != "Success aa rd ra\nlate. 5 10.0.0.9" {
			t.Errorf("a name that became known meanwhile is answered over %s by %s", network, got)
		}
		if got := shown(t, receive(t, foreign)); got != "NameError rd" {
			t.Errorf("a name of nobody is answered over %s by %s", network, got)
		}
		r.Replace("n1", "here", joined)
	}
	d.shows("10.0.0.2", "late", typeA, "ServerFailure rd ra") // it goes on not to be known
}

func TestGateway_oneThatAsksTooMuchTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	r := guests()
	r.SetSandbox("other", Sandbox{Networks: []NetworkID{"n1"}, Addrs: map[NetworkID][]netip.Addr{"n1": addrs("10.0.0.3")}})
	d := openDoor(t, r, Options{Forwards: 1, Connections: 1}, func(network string, msg []byte) []byte {
		if strings.Contains(string(msg), "dead") {
			return nil
		}
		return foundElsewhere(network, msg)
	})
	first := d.from("10.0.0.2", "udp")
	send(t, first, asked("dead", typeA))
	d.servers[0].waitSeen(1)
	if got := shown(t, ask(t, first, asked("example.com", typeA))); got != "ServerFailure rd ra" {
		t.Errorf("one more is answered by %s", got)
	}
	held := d.from("10.0.0.2", "tcp")
	ask(t, held, asked("web", typeA))
	if !isClosed(d.from("10.0.0.2", "tcp")) {
		t.Error("one more connection stays open")
	}
	d.shows("10.0.0.3", "example.com", typeA, elsewhere)
}
