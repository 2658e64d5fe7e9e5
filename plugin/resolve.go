package plugin

import (
	"context"
	"time"

	"github.com/ournet/ournet/dns"
	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/sandbox"
	"github.com/ournet/ournet/plugin/names"
)

// nameVerbs hears from the verbs which endpoints can be found by name, *names.Names.
// Nothing that fails there is a verb's business.
type nameVerbs interface {
	SetNetwork(n driver.Network)
	RemoveNetwork(id driver.NetworkID)
	// Join has the endpoint's sandbox ask us.
	Join(ctx context.Context, ep driver.Endpoint)
	// Leave makes sure that no answer has the endpoint's addresses.
	Leave(network driver.NetworkID, endpoint driver.EndpointID)
}

// nameKeeper keeps names and resolvers in agreement with the engine, *names.Names.
type nameKeeper interface {
	Heard(ev engine.Event)
	Compare(ctx context.Context, view map[string]engine.Network) (repairs []string)
}

// noNames are those of a handler or keeper that nobody has given any.
type noNames struct{}

func (noNames) SetNetwork(driver.Network)                                   {}
func (noNames) RemoveNetwork(driver.NetworkID)                              {}
func (noNames) Join(context.Context, driver.Endpoint)                       {}
func (noNames) Leave(driver.NetworkID, driver.EndpointID)                   {}
func (noNames) Heard(engine.Event)                                          {}
func (noNames) Compare(context.Context, map[string]engine.Network) []string { return nil }

// joined tells of an endpoint that has joined a sandbox.
func (v *networkVerbs) joined(ctx context.Context, network driver.NetworkID, id driver.EndpointID) {
	if ep, ok := v.networks.Endpoint(network, id); ok {
		v.names.Join(ctx, ep)
	}
}

// openNames makes the names of what is on record known. They are learned when the
// engine is heard.
func (p *parts) openNames(ctx context.Context, host hostfs.FS, asked names.Engine, ttl time.Duration) {
	p.records = dns.NewRecords()
	p.names = names.New(p.log, names.Parts{
		Records: p.records,
		Store:   p.kv,
		Engine:  asked,
		Sandboxes: sandbox.New(p.log, host, sandbox.Options{
			Name:     tableName(p.cfg.Name),
			Repaired: func(what string) { p.repairs.report(p.log, "a heartbeat found them gone", []string{what}) },
		}),
		Responder: dns.New(p.log, p.records, dns.Options{}),
		Announcer: p.membership,
		Gateways:  gatewaysOf(p.log, host, p.rules, p.devices),
		TTL:       ttl,
	})
	p.names.Load(ctx, p.networks.All())
}
