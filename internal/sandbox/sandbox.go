// Package sandbox opens sockets in the network namespaces of containers, and leads
// the queries of a container's resolver to them.
//
// It owns one nftables table in each namespace that it was asked to open, the
// sockets there, and the heartbeat that keeps the table working. It does not know
// what comes through the sockets, and touches no rule but its own.
//
// # How it works
//
// The engine gives a container the resolver 127.0.0.11 and translates port 53 there
// to a port of its own, by rules in the namespace at priority -100 (moby,
// daemon/libnetwork/resolver_unix.go). Our chain has priority -110: the first chain
// that translates a connection ends it, so ours wins whichever came first, and
// again after the engine has made its rules anew.
//
// What is not for us goes on to the engine's resolver from sockets with a mark in
// the same namespace, which our rule leaves alone.
//
// The rule applies to ports in a set, and the element 53 there lives for three
// seconds unless it is renewed. When this process dies, the kernel forgets it, and
// queries go to the engine's resolver as if we had never been there. Without that, a
// dead plugin would take all names from every container.
//
// Rejected: a resolv.conf of our own (the engine rewrites it; a dead plugin means no
// names); answering on the network's gateway (needs --dns); changing the engine's
// rules (it flushes them).
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/turn"
)

// ErrGone says that there is no namespace at a key: not yet, or no longer.
var ErrGone = errors.New("no network namespace there")

// Options are settings; the zero value is useful.
type Options struct {
	// Name is the name of the nftables table. Instances on one host need different
	// ones. Default "ournet".
	Name string
	// Mark is the packet mark of what goes on to the engine's resolver. It has a
	// meaning inside the container's namespace only. Default 0x6f756e74.
	Mark uint32
	// Timeout is how long queries come to us after the last heartbeat. Default 3 s.
	Timeout time.Duration
	// Interval is the time between heartbeats. Default half of Timeout, so that one
	// may be late by as much.
	Interval time.Duration
	// Repaired is called with what someone had taken away and was made anew; it may
	// be nil.
	Repaired func(what string)
}

// Sandboxes are the namespaces that are open. They are safe for concurrent use;
// what is done to one of them is done one after the other.
type Sandboxes struct {
	log   logrus.FieldLogger
	fs    hostfs.FS
	opts  Options
	turns turn.Turns
	// mounts is the list of the host's mounts.
	mounts string

	// pulse is the heartbeat of a table, the same for all of them.
	pulse []byte
	// zoneless says that the kernel has no conntrack zones.
	zoneless atomic.Bool
	// send is [channel.send].
	send func(c channel, transaction []byte) error

	mu   sync.Mutex // guards open
	open map[string]*Sandbox
}

// New returns sandboxes of which none is open.
func New(log logrus.FieldLogger, fs hostfs.FS, opts Options) *Sandboxes {
	if opts.Name == "" {
		opts.Name = "ournet"
	}
	if opts.Mark == 0 {
		opts.Mark = 0x6f756e74
	}
	if opts.Timeout == 0 {
		opts.Timeout = 3 * time.Second
	}
	if opts.Interval == 0 {
		opts.Interval = opts.Timeout / 2
	}
	return &Sandboxes{
		log: log, fs: fs, opts: opts, mounts: fs.Path("/proc/1/mountinfo"), pulse: renewal(opts.Name), send: channel.send, open: make(map[string]*Sandbox),
	}
}

// Ensure opens the sandbox at the key, a path of the host as the engine gives it,
// and leads its queries to the sockets. If it is open already, it is the same one
// that is returned, with its rules as they should be. Where an earlier process has
// left its rules, the sockets get the same ports: a client that goes on to use its
// socket is not lost.
//
// An error that wraps [ErrGone] means that there is no namespace.
func (s *Sandboxes) Ensure(ctx context.Context, key string) (*Sandbox, error) {
	done, err := s.turns.Take(ctx, key)
	if err != nil {
		return nil, err
	}
	defer done()
	have := s.get(key)
	ns, err := openNamespace(s.fs.Path(key))
	if err != nil {
		s.forget(key, have)
		return nil, fmt.Errorf("open sandbox %s: %w", key, err)
	}
	if have != nil && have.ns.id == ns.id {
		ns.close()
		return have, s.renew(key, have)
	}
	s.forget(key, have) // the key was used again
	b, err := s.openSandbox(key, ns)
	if err != nil {
		return nil, fmt.Errorf("open sandbox %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[key] = b
	return b, nil
}

// Remove takes our rules out of the sandbox and closes its sockets, also those rules
// that an earlier process has left. A sandbox that is gone is fine. It takes some
// 10 ms: when a netlink socket that changed rules is closed, the kernel waits until
// what was deleted is no longer in use on any CPU.
func (s *Sandboxes) Remove(ctx context.Context, key string) error {
	done, err := s.turns.Take(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	have := s.get(key)
	if have != nil {
		defer s.forget(key, have)
		// The rules first: queries go to the engine's resolver from then on.
		return have.table.remove()
	}
	ns, err := openNamespace(s.fs.Path(key))
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove from sandbox %s: %w", key, err)
	}
	defer ns.close()
	if err := s.removeTable(ns); err != nil {
		return fmt.Errorf("remove from sandbox %s: %w", key, err)
	}
	return nil
}

// Exists reports whether there is a namespace at the key.
func (s *Sandboxes) Exists(key string) bool {
	_, err := identify(s.fs.Path(key))
	return err == nil
}

// Addrs returns the addresses that the interfaces of the sandbox have. An error that
// wraps [ErrGone] means that there is no namespace.
func (s *Sandboxes) Addrs(key string) ([]netip.Addr, error) {
	ns, err := openNamespace(s.fs.Path(key))
	if err != nil {
		return nil, fmt.Errorf("addresses of sandbox %s: %w", key, err)
	}
	defer ns.close()
	var all []netip.Addr
	err = ns.do(func() error {
		list, err := net.InterfaceAddrs()
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil { // all that interfaces have is of that form
				all = append(all, p.Addr())
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("addresses of sandbox %s: %w", key, err)
	}
	return all, nil
}

func (s *Sandboxes) get(key string) *Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[key]
}

// forget closes a sandbox and no longer knows it. None is fine.
func (s *Sandboxes) forget(key string, b *Sandbox) {
	if b == nil {
		return
	}
	s.mu.Lock()
	delete(s.open, key)
	s.mu.Unlock()
	b.close()
}
