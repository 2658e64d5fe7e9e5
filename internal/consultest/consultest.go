// Package consultest runs real Consul servers for tests: one or several, each a
// process of its own with an address of its own on loopback, or in network
// namespaces, with ACLs and TLS if wanted. They can be killed, frozen, begun
// again and wiped.
//
// The binary is the one that `make consul` builds; without it a test fails.
package consultest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds the start of a cluster; reaching it is a failure.
const patience = 60 * time.Second

// The ports are the usual ones: every server has an address to itself.
const (
	portHTTP = 8500
	portRPC  = 8300
	portSerf = 8301
)

// Token is the ACL token that may do everything, of clusters with ACLs.
const Token = "c0ffee00-0000-4000-8000-000000000001"

// Options say what a cluster is to be like.
type Options struct {
	// Binary is Consul.
	Binary string
	// Dir is where the servers keep their data, configuration and logs.
	Dir string
	// Addresses are those of the servers; each is a server.
	Addresses []netip.Addr
	// ACL denies what no token allows; TLS wants certificates of both sides.
	ACL, TLS bool
	// Connections is how many one address may have to a server, where many hosts share
	// one; 0 is Consul's own limit.
	Connections int
	// Steady is for tests of which no server is killed or frozen. The servers have the
	// times of production, and one that waits for its turn on a busy machine is not
	// taken for dead.
	Steady bool
	// Enter are the words before a server's command, "nsenter --net=…": how it gets
	// to where its address is.
	Enter []string
	// Dial is how the servers are reached; nil is from here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Cluster is Consul servers that know each other.
type Cluster struct {
	Servers []*Server
	// CAFile, CertFile and KeyFile are what a client needs, if TLS was asked for.
	CAFile, CertFile, KeyFile string

	opts Options
}

// Start starts so many servers on loopback for a test and ends them with it.
func Start(t testing.TB, servers int, opts Options) *Cluster {
	t.Helper()
	opts.Addresses = loopback(t, servers)
	return StartAt(t, opts)
}

// StartAt is [Start] at addresses that the test has.
func StartAt(t testing.TB, opts Options) *Cluster {
	t.Helper()
	opts.Dir = t.TempDir()
	opts.Binary = binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := Open(ctx, opts)
	if c != nil {
		t.Cleanup(func() {
			if t.Failed() {
				c.Log(t)
			}
			if cerr := c.Close(); cerr != nil {
				t.Errorf("end consul: %v", cerr)
			}
		})
	}
	if err != nil {
		t.Fatalf("start consul: %v", err)
	}
	return c
}

// Open starts a cluster and returns when it has a leader. The caller closes what it
// returns, also beside an error.
func Open(ctx context.Context, opts Options) (*Cluster, error) {
	c := &Cluster{opts: opts}
	if opts.TLS {
		if err := c.makeCertificates(); err != nil {
			return nil, fmt.Errorf("make certificates: %w", err)
		}
	}
	for i := range opts.Addresses {
		s, err := c.newServer(i)
		if err != nil {
			return c, err
		}
		c.Servers = append(c.Servers, s)
		if err := s.start(); err != nil {
			return c, err
		}
	}
	return c, c.Ready(ctx)
}

// Close ends all servers.
func (c *Cluster) Close() error {
	var errs []error
	for _, s := range c.Servers {
		errs = append(errs, s.kill())
	}
	return errors.Join(errs...)
}

// Addresses returns where the servers serve clients.
func (c *Cluster) Addresses() []string {
	all := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers {
		all = append(all, s.Address)
	}
	return all
}

// binary finds what `make consul` built, in the repository that the test is in.
func binary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	path := filepath.Join(dir, ".cache", "bin", "consul")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no Consul: %v; run make consul", err)
	}
	return path
}

// loopback returns addresses that nobody uses yet. All of 127.0.0.0/8 is this host,
// and an address chosen at random spares the tests that run at the same time.
func loopback(t testing.TB, n int) []netip.Addr {
	t.Helper()
	var all []netip.Addr
	for range 100 * n {
		addr := netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), byte(rand.N(256)), byte(1 + rand.N(254))})
		if len(all) < n && isFree(addr) {
			all = append(all, addr)
		}
	}
	if len(all) < n {
		t.Fatal("no free address on loopback")
	}
	return all
}

func isFree(addr netip.Addr) bool {
	for _, port := range []uint16{portHTTP, portRPC, portSerf} {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
		if err != nil {
			return false
		}
		if err := l.Close(); err != nil {
			return false
		}
	}
	return true
}
