package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/ipam"
)

// owners notes who has which address, and complains if two have the same.
type owners struct {
	mu sync.Mutex // guards by
	by map[netip.Prefix]string
}

func (o *owners) take(addr netip.Prefix, who string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if other, taken := o.by[addr]; taken {
		return fmt.Errorf("%s was given to %s and to %s", addr, other, who)
	}
	o.by[addr] = who
	return nil
}

func (o *owners) leave(addr netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.by, addr)
}

func openBolt(tb testing.TB) store.KV {
	tb.Helper()
	kv, err := boltstore.Open(tb.Context(), filepath.Join(tb.TempDir(), "ournet.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := kv.Close(); err != nil {
			tb.Error(err)
		}
	})
	return kv
}

func openOn(tb testing.TB, kv store.KV) *ipam.Manager {
	tb.Helper()
	log := logrus.New()
	log.SetOutput(tb.Output())
	m, err := ipam.Open(tb.Context(), kv, func() ([]netip.Prefix, error) { return nil, nil }, log, ipam.Settings{})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestParallel_noAddressIsGivenTwice(t *testing.T) {
	t.Parallel()
	const workers, rounds = 200, 5
	kv := openBolt(t)
	m := openOn(t, kv)
	id, _, err := m.RequestPool(t.Context(), poolRequest("172.25.0.0/24", "")) // 254 for 200
	if err != nil {
		t.Fatal(err)
	}
	if err = m.BindPool(id, "net"); err != nil {
		t.Fatal(err)
	}
	o := owners{by: make(map[netip.Prefix]string)}
	g, ctx := errgroup.WithContext(t.Context())
	for i := range workers {
		g.Go(func() error {
			who := fmt.Sprint("worker ", i)
			req := any4(id)
			if i%2 == 0 {
				req.Name = who
			}
			for range rounds {
				if err := attach(ctx, m, &o, req, who); err != nil {
					return fmt.Errorf("%s: %w", who, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if used := m.Pools()[0].Used; used != 0 {
		t.Errorf("%d addresses are still leased", used)
	}
	if used := openOn(t, kv).Pools()[0].Used; used != 0 {
		t.Errorf("%d addresses are leased after a restart", used)
	}
}

// attach goes through the life of a container's address.
func attach(ctx context.Context, m *ipam.Manager, o *owners, req ipam.AddressRequest, who string) error {
	got, err := m.RequestAddress(ctx, req)
	if err != nil {
		return err
	}
	if err := o.take(got, who); err != nil {
		return err
	}
	if err := m.BindAddress(req.Pool, got.Addr(), who); err != nil {
		return err
	}
	m.UnbindAddress(req.Pool, got.Addr(), who)
	o.leave(got)
	return m.ReleaseAddress(ctx, req.Pool, got.Addr())
}

func TestParallel_oneOfManyGetsAStaticAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.pool("172.25.0.0/16", "", "net")
	var g errgroup.Group
	won := make([]bool, 100)
	for i := range won {
		g.Go(func() error {
			_, err := w.RequestAddress(t.Context(), static(id, "172.25.3.3", fmt.Sprint("c", i)))
			won[i] = err == nil
			if errors.Is(err, ipam.ErrInUse) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d have the address, want 1", winners)
	}
}

func TestParallel_poolsNeverOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.blocks = []ipam.Block{{Base: netip.MustParsePrefix("10.0.0.0/19"), Size: 24}} // 32 subnets
	w.open()
	var (
		g     errgroup.Group
		mu    sync.Mutex
		given []netip.Prefix
	)
	for i := range 60 {
		g.Go(func() error {
			req := poolRequest("", "")
			if i%3 == 0 {
				req = poolRequest(fmt.Sprintf("10.0.%d.0/23", i%32&^1), "")
			}
			id, subnet, err := w.RequestPool(t.Context(), req)
			if errors.Is(err, ipam.ErrOverlap) || errors.Is(err, ipam.ErrNoSubnet) {
				return nil
			}
			if err != nil {
				return err
			}
			err = w.BindPool(id, fmt.Sprint("net", i))
			if errors.Is(err, ipam.ErrInUse) && i%3 == 0 {
				return nil // who asks for the same subnet meanwhile may be the same engine, asking again
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, other := range given {
				if other.Overlaps(subnet) {
					return fmt.Errorf("%s and %s overlap", other, subnet)
				}
			}
			given = append(given, subnet)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestParallel_everythingAtOnce(t *testing.T) {
	t.Parallel()
	m := openOn(t, openBolt(t))
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 20 {
		g.Go(func() error {
			network := fmt.Sprint("net", i)
			for range 5 {
				id, _, err := m.RequestPool(ctx, poolRequest("", ""))
				if err != nil {
					return err
				}
				if _, err = m.RequestAddress(ctx, gateway(id, "")); err != nil {
					return err
				}
				if err = m.BindPool(id, network); err != nil {
					return err
				}
				o := owners{by: make(map[netip.Prefix]string)}
				var in errgroup.Group
				for j := range 5 {
					in.Go(func() error { return attach(ctx, m, &o, any4(id), fmt.Sprint(network, "/", j)) })
				}
				if err = in.Wait(); err != nil {
					return err
				}
				if _, err = m.Sweep(ctx, nil); err != nil {
					return err
				}
				if err = errors.Join(m.ReleasePool(ctx, id), m.UnbindPool(ctx, id, network)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if left := m.Pools(); len(left) != 0 {
		t.Errorf("pools left: %+v", left)
	}
}

// BenchmarkAttach is a container's whole life at the address manager, durable.
func BenchmarkAttach(b *testing.B) {
	for _, workers := range []int{1, 32, 200} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			m := openOn(b, openBolt(b))
			id, _, err := m.RequestPool(b.Context(), poolRequest("10.0.0.0/16", ""))
			if err != nil {
				b.Fatal(err)
			}
			if err = m.BindPool(id, "net"); err != nil {
				b.Fatal(err)
			}
			o := owners{by: make(map[netip.Prefix]string)}
			var g errgroup.Group
			b.ResetTimer()
			for w := range workers {
				g.Go(func() error {
					for i := w; i < b.N; i += workers {
						if err := attach(b.Context(), m, &o, named(id, fmt.Sprint("c", w)), strconv.Itoa(w)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
