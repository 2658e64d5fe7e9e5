package cluster

import (
	"net/netip"
	"slices"
)

// SetVTEPs says where packets for this host are to be sent to, when that was not known
// to [Open]. It has to be called before Run.
func (c *Cluster) SetVTEPs(vteps []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts.Host.VTEPs = slices.Clone(vteps)
	c.state.host(c.self).Host = c.opts.Host
	var what touched
	what.host(c.self)
	c.publishLocked(what)
}
