package cluster

import (
	"context"
	"net/netip"
	"slices"
)

// SetVTEPs says where packets for this host are to be sent to, when that was not known
// to [Open]. Before Run that is all; later it is for [Cluster.Move].
func (c *Cluster) SetVTEPs(vteps []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts.Host.VTEPs = slices.Clone(vteps)
	c.state.host(c.self).Host = c.opts.Host
	var what touched
	what.host(c.self)
	c.publishLocked(what)
}

// Move is [Cluster.SetVTEPs] while Run runs: other hosts are told, later if the cluster
// store is away.
func (c *Cluster) Move(ctx context.Context, vteps []netip.Addr) error {
	c.SetVTEPs(vteps)
	return c.sayHost(ctx)
}

// Self returns this host.
func (c *Cluster) Self() Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts.Host
}
