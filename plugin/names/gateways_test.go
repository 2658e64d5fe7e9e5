package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	miekgdns "github.com/miekg/dns"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/doorway"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/netnstest"
)

// gatePort is where gateways of tests are asked.
const gatePort = 28533

// gatehouse is the network namespace of a host, with the device on-front that has the
// gateway's address, and a container at its other end.
type gatehouse struct {
	*host

	ns  *netnstest.Namespace
	box string

	mu  sync.Mutex // guards led
	led [][]Door
}

var frontDoor = Door{Device: "on-front", Addr: netip.MustParseAddr("10.1.0.1")}

func newGatehouse(t *testing.T) *gatehouse {
	t.Helper()
	h := newHost(t, nil)
	g := &gatehouse{host: h, ns: netnstest.New(t), box: h.namespace("a")}
	g.cable()
	h.gateways.parts = Gateways{
		Doors: func(n driver.Network) []Door {
			if n.ID == front {
				return []Door{frontDoor}
			}
			return nil
		},
		Port: gatePort,
		Lead: func(_ context.Context, doors []Door) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.led = append(g.led, slices.Clone(doors))
			return nil
		},
		Servers: func() []dns.Dial {
			return []dns.Dial{func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody there") }}
		},
	}
	h.gateways.listen = func(ctx context.Context, device string, at netip.AddrPort) (d *doorway.Doorway, err error) {
		err = g.ns.Do(func() (err error) {
			d, err = doorway.Open(ctx, device, at)
			return err
		})
		return d, err
	}
	for _, id := range []driver.NetworkID{front, back} {
		h.SetNetwork(driver.Network{ID: id})
	}
	h.attach(engine.Inspection{ID: strings.Repeat("a", 64), Name: "asker"}, front, "10.1.0.2", g.box, engine.Attachment{
		Links: []engine.Link{{Alias: "store", Target: "db"}},
	})
	h.Heard(engine.Event{Kind: engine.Resync})
	return g
}

func (g *gatehouse) cable() {
	g.t.Helper()
	netnstest.Pair(g.t, g.ns, netnstest.Port{Name: frontDoor.Device, Addrs: []string{"10.1.0.1/24"}},
		g.boxes[g.box], netnstest.Port{Name: "eth0", Addrs: []string{"10.1.0.2/24", "10.1.0.66/24"}})
}

// run runs the names until the function that it returns is called.
func (g *gatehouse) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Error(err)
		}
	})
}

// atGateway asks at the gateway, from an address, for a name's addresses, and waits that
// long for the answer.
func (g *gatehouse) atGateway(from, name string, wait time.Duration) string {
	g.t.Helper()
	var conn net.Conn
	g.boxes[g.box].Run(g.t, func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err = d.Dial("udp", netip.AddrPortFrom(frontDoor.Addr, gatePort).String())
		return err
	})
	defer conn.Close() //nolint:errcheck // a datagram socket
	m := new(miekgdns.Msg).SetQuestion(miekgdns.Fqdn(name), miekgdns.TypeA)
	client := &miekgdns.Client{Timeout: wait}
	reply, _, err := client.ExchangeWithConn(m, &miekgdns.Conn{Conn: conn})
	if err != nil {
		return "nobody"
	}
	words := []string{miekgdns.RcodeToString[reply.Rcode]}
	for _, rr := range reply.Answer {
		if a, ok := rr.(*miekgdns.A); ok {
			words = append(words, a.A.String())
		}
	}
	return strings.Join(words, " ")
}

func (g *gatehouse) answersAtGateway(name, want string) {
	g.t.Helper()
	g.eventually(func() string {
		// What nobody was there for yet is asked again.
		if got := g.atGateway("10.1.0.2", name, time.Second); got != want {
			return "at the gateway " + name + " is answered by " + got + ", want " + want
		}
		return ""
	})
}

func (g *gatehouse) lastLed() []Door {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.led) == 0 {
		return nil
	}
	return g.led[len(g.led)-1]
}

func TestGateways_answerAsTheContainersOwnResolver(t *testing.T) {
	t.Parallel()
	g := newGatehouse(t)
	defer g.run()()
	db := g.container("db", "10.1.0.3", "postgres")
	for name, want := range map[string]string{
		"asker": "NOERROR 10.1.0.2", "db": "NOERROR 10.1.0.3", "postgres.front": "NOERROR 10.1.0.3", "store": "NOERROR 10.1.0.3",
		"example.org": "SERVFAIL",
	} {
		g.answersAtGateway(name, want)
	}
	if got := g.atGateway("10.1.0.66", "db", patience); got != "REFUSED" {
		t.Errorf("an address of nobody is answered by %s", got)
	}
	if got := g.lastLed(); !slices.Equal(got, []Door{frontDoor}) {
		t.Errorf("queries come by %v, want %v", got, frontDoor)
	}
	g.Leave(front, db.ID)
	if got := g.atGateway("10.1.0.2", "db", patience); got != "SERVFAIL" {
		t.Errorf("the name of one that has left is answered by %s", got)
	}
}

// The engine has not told a container's name yet. Nobody says that there is no such name.
func TestGateways_aNameThatIsNotKnownYetIsNotDenied(t *testing.T) {
	t.Parallel()
	g := newGatehouse(t)
	defer g.run()()
	g.answersAtGateway("asker", "NOERROR 10.1.0.2")
	started := make(chan struct{})
	slow := engine.Inspection{ID: strings.Repeat("5", 64), Name: "slow"}
	g.engine.set(func() { g.engine.held[slow.ID] = started })
	g.attach(slow, front, "10.1.0.9", "/var/run/docker/netns/slow", engine.Attachment{})
	go func() {
		<-time.After(50 * time.Millisecond)
		close(started)
	}()
	if got := g.atGateway("10.1.0.2", "slow", patience); got != "NOERROR 10.1.0.9" {
		t.Errorf("a name that is being learned is answered by %s", got)
	}
}

func TestGateways_aBridgeThatIsMadeAgainIsServedAgain(t *testing.T) {
	t.Parallel()
	g := newGatehouse(t)
	defer g.run()()
	g.answersAtGateway("asker", "NOERROR 10.1.0.2")
	g.ns.Exec(t, "ip", "link", "del", frontDoor.Device)
	g.eventually(func() string {
		if led := g.lastLed(); len(led) > 0 {
			return "queries come to a bridge that is gone"
		}
		return ""
	})
	g.cable()
	g.answersAtGateway("asker", "NOERROR 10.1.0.2")
}

func TestGateways_areGoneWithTheirNetworkAndTheProcess(t *testing.T) {
	t.Parallel()
	g := newGatehouse(t)
	stop := g.run()
	defer stop()
	listening := func() string { return g.ns.Exec(t, "ss", "-Hlntu") }
	g.answersAtGateway("asker", "NOERROR 10.1.0.2")
	stop()
	if led := g.lastLed(); len(led) > 0 {
		t.Errorf("after the end, queries come by %v", led)
	}
	// A program that another test is just starting has a copy of each socket (fork(2)).
	g.eventually(func() string {
		if left := listening(); left != "" {
			return "after the end, these listen: " + left
		}
		return ""
	})
	defer g.run()()
	g.answersAtGateway("asker", "NOERROR 10.1.0.2")
	g.RemoveNetwork(front)
	g.eventually(func() string {
		if led, left := g.lastLed(), listening(); len(led) > 0 || left != "" {
			return "after the network's end, these listen: " + left
		}
		return ""
	})
}

func TestGateways_withoutADoorNobodyIsToldOfAny(t *testing.T) {
	t.Parallel()
	g := newGatehouse(t)
	g.RemoveNetwork(front)
	stop := g.run()
	<-time.After(50 * time.Millisecond)
	stop()
	if len(g.led) > 0 {
		t.Errorf("queries come by %v", g.led)
	}
}
