package overlay_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/driver/overlay"
	"github.com/ournet/ournet/internal/firewall"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/link"
)

// counting counts what the kernel is asked.
type counting struct {
	*link.Handle

	puts, takes, lists int
}

func (c *counting) Put(e link.Entry) error  { c.puts++; return c.Handle.Put(e) }
func (c *counting) Take(e link.Entry) error { c.takes++; return c.Handle.Take(e) }

func (c *counting) Entries() (map[string][]link.Entry, error) {
	c.lists++
	return c.Handle.Entries()
}

// manyPeers returns containers on other hosts, each with an address of either family.
func manyPeers(n int) []overlay.Peer {
	peers := make([]overlay.Peer, n)
	for i := range peers {
		v4 := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		v6 := netip.AddrFrom16([16]byte{0xfd, 0, 0, 1, 12: 0, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		peers[i] = overlay.Peer{Addrs: []netip.Addr{v4, v6}, MAC: driver.MACFromAddr(v4), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i%3)})}
	}
	return peers
}

// counted makes host 1 of a lab ask the kernel through what counts.
func counted(t testing.TB, h *host) *counting {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	rules, err := firewall.New(log, hostfs.New("/"), firewall.Options{})
	must(t, err)
	c := &counting{Handle: h.dev}
	h.Driver = overlay.New(log, "ournet", overlay.Kernel{Devices: c, Rules: rules}, overlay.Options{Port: udpPort, VTEP: h.vtep}, h)
	return c
}

// One endpoint costs the same whether it is the first or the thousandth, with no
// listing of the tables.
func TestRefresh_costOfAChangeDoesNotGrow(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1000} {
		l := newLab(t, 1, false)
		h := l.hosts[0]
		c := counted(t, h)
		peers := manyPeers(n + 1)
		l.peers[2] = peers[:n]
		l.up(t)
		if c.puts != 4*n {
			t.Errorf("%d peers: %d entries put, want %d", n, c.puts, 4*n)
		}
		for _, change := range []struct {
			what        string
			peers       []overlay.Peer
			puts, takes int
		}{
			{"one more", peers, 4, 0},
			{"nothing new", peers, 0, 0},
			{"one less", peers[:n], 0, 4},
		} {
			*c = counting{Handle: c.Handle}
			l.peers[2] = change.peers
			l.refresh(t, nil)
			if c.puts != change.puts || c.takes != change.takes || c.lists != 0 {
				t.Errorf("%d peers, %s: %d put, %d taken, %d lists; want %d, %d, none", n, change.what, c.puts, c.takes, c.lists, change.puts, change.takes)
			}
		}
	}
}

// A container that moves to another host is one entry that is replaced, at no moment
// without any.
func TestRefresh_containerThatMovesIsOneEntry(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, false)
	h := l.hosts[0]
	c := counted(t, h)
	peers := manyPeers(10)
	l.peers[2] = peers
	l.up(t)
	*c = counting{Handle: c.Handle}
	peers[4].VTEP = netip.MustParseAddr("192.0.2.9")
	l.refresh(t, nil)
	if c.puts != 1 || c.takes != 0 {
		t.Errorf("%d put, %d taken; want one put", c.puts, c.takes)
	}
	if repairs := h.reconcile(t); len(repairs) > 0 {
		t.Errorf("Reconcile repaired %q", repairs)
	}
}

func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("%d endpoints", n), func(b *testing.B) {
			l := newLab(b, 1, false)
			peers := manyPeers(n + 1)
			l.up(b)
			err := l.hosts[0].ns.Do(func() error {
				for b.Loop() {
					for _, l.peers[2] = range [][]overlay.Peer{peers[:n], peers} {
						if err := l.hosts[0].Refresh(b.Context(), *l.net); err != nil {
							return err
						}
					}
				}
				return nil
			})
			must(b, err)
		})
	}
}
