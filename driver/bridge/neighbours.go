package bridge

import (
	"slices"
	"strings"
	"sync"

	"github.com/ournet/ournet/internal/link"
)

// neighbours are the devices of the engine's own bridge networks that have names of
// the user's choice. Nothing but the engine tells which those are.
type neighbours struct {
	mu    sync.Mutex // guards named
	named []string   // sorted; replaced as a whole
}

// SetEngineBridges says what devices the engine's own bridge networks have, from which
// [Driver.Reconcile] then isolates ours, and reports whether it had to be said. Those
// whose names tell what they are need not be.
func (d *Driver) SetEngineBridges(names []string) (news bool) {
	named := slices.DeleteFunc(slices.Clone(names), engineBridge.MatchString)
	slices.Sort(named)
	d.neighbours.mu.Lock()
	defer d.neighbours.mu.Unlock()
	news = !slices.Equal(named, d.neighbours.named)
	d.neighbours.named = named
	return news
}

// engineBridges returns those of links that are bridges of the engine's own networks.
//
// One that has a name of the user's choice may be the host's way out as well, with
// a network card among its ports: then it is not isolated, or ours had no way out.
func (d *Driver) engineBridges(links []link.Link) []string {
	d.neighbours.mu.Lock()
	named := d.neighbours.named
	d.neighbours.mu.Unlock()
	var names []string
	for _, l := range links {
		if l.Kind == "bridge" && (engineBridge.MatchString(l.Name) || slices.Contains(named, l.Name) && !leadsOut(l.Name, links)) {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return names
}

// leadsOut reports whether a bridge has a port that leads to no container of the
// engine's, which calls theirs "veth" and a number (moby daemon/libnetwork/drivers/bridge,
// vethPrefix).
func leadsOut(bridge string, links []link.Link) bool {
	return slices.ContainsFunc(links, func(l link.Link) bool {
		return l.Master == bridge && (l.Kind != "veth" || !strings.HasPrefix(l.Name, "veth"))
	})
}
