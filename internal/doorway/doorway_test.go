package doorway_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/doorway"
	"github.com/ournet/ournet/internal/netnstest"
)

const patience = 10 * time.Second

// place is a host with a bridge's device br, at whose other end there is a container,
// and one, eth0, that leads outside.
type place struct {
	host, container, outside *netnstest.Namespace
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{host: netnstest.New(t), container: netnstest.New(t), outside: netnstest.New(t)}
	p.cable(t)
	netnstest.Pair(t, p.host, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.1/24"}},
		p.outside, netnstest.Port{Name: "eth0", Addrs: []string{"192.0.2.2/24"}})
	p.outside.Route(t, "10.0.0.0/24", "192.0.2.1")
	return p
}

func (p *place) cable(t *testing.T) {
	t.Helper()
	netnstest.Pair(t, p.host, netnstest.Port{Name: "br", Addrs: []string{"10.0.0.1/24", "fd00::1/64"}},
		p.container, netnstest.Port{Name: "eth0", Addrs: []string{"10.0.0.2/24", "fd00::2/64"}})
}

func (p *place) open(t *testing.T, addr string) (*doorway.Doorway, error) {
	t.Helper()
	var (
		d   *doorway.Doorway
		err error
	)
	p.host.Run(t, func() error {
		d, err = doorway.Open(t.Context(), "br", netip.MustParseAddrPort(addr))
		return nil
	})
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, err
}

// hears reports whether what is sent from a namespace arrives.
func hears(t *testing.T, d *doorway.Doorway, from *netnstest.Namespace, wait time.Duration) (udp, tcp bool) {
	t.Helper()
	to := d.UDP.LocalAddr().String()
	from.Run(t, func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		if _, err := conn.Write([]byte("?")); err != nil {
			return err
		}
		if stream, err := net.DialTimeout("tcp", to, wait); err == nil {
			tcp = true
			return errors.Join(conn.Close(), stream.Close())
		}
		return conn.Close()
	})
	if err := d.UDP.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.UDP.ReadFromUDPAddrPort(make([]byte, 1))
	return err == nil, tcp
}

func TestOpen_getsWhatComesInByTheDeviceAlone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, addr := range []string{"10.0.0.1:28533", "[fd00::1]:28533"} {
		d, err := p.open(t, addr)
		if err != nil {
			t.Fatal(err)
		}
		if udp, tcp := hears(t, d, p.container, patience); !udp || !tcp {
			t.Errorf("at %s the container is heard by UDP: %t, by TCP: %t", addr, udp, tcp)
		}
		if addr[0] == '[' {
			continue
		}
		if udp, tcp := hears(t, d, p.outside, 100*time.Millisecond); udp || tcp {
			t.Errorf("at %s the outside is heard by UDP: %t, by TCP: %t", addr, udp, tcp)
		}
	}
}

func TestOpen_beforeTheAddressIsThere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, addr := range []string{"10.0.9.1:28533", "[fd00:9::1]:28533"} {
		if _, err := p.open(t, addr); err != nil {
			t.Errorf("open at %s: %v", addr, err)
		}
	}
}

func TestLeads_notAfterTheDeviceIsGone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d, err := p.open(t, "10.0.0.1:28533")
	if err != nil || !d.Leads() {
		t.Fatalf("it leads nowhere at first (%v)", err)
	}
	p.host.Exec(t, "ip", "link", "del", "dev", "br")
	if d.Leads() {
		t.Error("it leads to a device that is gone")
	}
	if _, err := p.open(t, "10.0.0.1:28534"); !errors.Is(err, doorway.ErrNoDevice) {
		t.Errorf("open without a device: %v, want that there is none", err)
	}
	p.cable(t)
	if d.Leads() {
		t.Error("it leads to another device of the name")
	}
	d.Close()
	again, err := p.open(t, "10.0.0.1:28533")
	if err != nil {
		t.Fatal(err)
	}
	if udp, tcp := hears(t, again, p.container, patience); !udp || !tcp {
		t.Errorf("opened again, it hears by UDP: %t, by TCP: %t", udp, tcp)
	}
	again.Close()
	if again.Leads() {
		t.Error("it leads somewhere when it is closed")
	}
}

func TestOpen_portThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := p.open(t, "10.0.0.1:28533"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(t, "10.0.0.1:28533"); err == nil {
		t.Error("two are open at one port")
	}
}
