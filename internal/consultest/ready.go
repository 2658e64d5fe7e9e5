package consultest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
)

// Client returns a client of one server that may do everything.
func (s *Server) Client() (*consulapi.Client, error) {
	scheme := "http"
	if s.c.opts.TLS {
		scheme = "https"
	}
	conf := &consulapi.Config{
		Address: s.Address, Scheme: scheme,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.c.opts.Dial},
		TLSConfig: consulapi.TLSConfig{CAFile: s.c.CAFile, CertFile: s.c.CertFile, KeyFile: s.c.KeyFile},
	}
	if s.c.opts.ACL {
		conf.Token = Token
	}
	return consulapi.NewClient(conf)
}

// Ready returns when every server has a leader that a majority follows.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, s := range c.Servers {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) ready(ctx context.Context) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.probe(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.gone:
			return fmt.Errorf("consul at %s ended; see its log", s.Address)
		case <-ctx.Done():
			return fmt.Errorf("consul at %s is not ready: %w (%w)", s.Address, err, ctx.Err())
		}
	}
}

// probe asks for what takes a leader, and a token if there are ACLs.
func (s *Server) probe(ctx context.Context, client *consulapi.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	opts := (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	if _, _, err := client.KV().Get("consultest/ready", opts); err != nil {
		return err
	}
	_, _, err := client.Session().List(opts)
	return err
}

// Leader returns the server that leads now.
func (c *Cluster) Leader(t testing.TB) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, s := range c.Servers {
			if s.cmd == nil {
				continue
			}
			if leader, err := c.leaderOf(ctx, s); err == nil {
				return leader
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("consul has no leader")
		}
	}
}

func (c *Cluster) leaderOf(ctx context.Context, s *Server) (*Server, error) {
	client, err := s.Client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	text, err := client.Status().LeaderWithQueryOptions((&consulapi.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	for _, l := range c.Servers {
		if netip.AddrPortFrom(l.addr, portRPC).String() == text {
			return l, nil
		}
	}
	return nil, errors.New("no leader")
}

// Term returns how many elections there were, as far as a server that answers knows. With
// each new leader the time of every session begins anew.
func (c *Cluster) Term(ctx context.Context) (uint64, error) {
	var last uint64
	var errs []error
	for _, s := range c.Servers {
		term, err := s.term(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("term of consul at %s: %w", s.Address, err))
		}
		last = max(last, term)
	}
	if last == 0 {
		return 0, errors.Join(errs...)
	}
	return last, nil
}

func (s *Server) term(ctx context.Context) (uint64, error) {
	client, err := s.Client()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var self struct{ Stats map[string]map[string]string }
	opts := &consulapi.QueryOptions{}
	if _, err := client.Raw().Query("/v1/agent/self", &self, opts.WithContext(ctx)); err != nil {
		return 0, err
	}
	return strconv.ParseUint(self.Stats["raft"]["term"], 10, 64)
}

// Token makes a token that has the rules, in Consul's language of policies.
func (c *Cluster) Token(t testing.TB, name, rules string) string {
	t.Helper()
	client, err := c.Servers[0].Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.ACL().PolicyCreate(&consulapi.ACLPolicy{Name: name, Rules: rules}, nil); err != nil {
		t.Fatalf("make policy %s: %v", name, err)
	}
	token, _, err := client.ACL().TokenCreate(&consulapi.ACLToken{Policies: []*consulapi.ACLLink{{Name: name}}}, nil)
	if err != nil {
		t.Fatalf("make token %s: %v", name, err)
	}
	return token.SecretID
}
