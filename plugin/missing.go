package plugin

import (
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

// missingGrace is how long a record must be missing from the engine's answers,
// without a break, before it is taken for dead. The engine does not list a
// network before CreateNetwork has returned, nor an endpoint before
// CreateEndpoint has, and a busy engine may take its time.
const missingGrace = 60 * time.Second

// missing remembers since when records have been unknown to the engine.
type missing struct {
	since map[string]time.Time
}

// dead are records whose time is up.
type dead struct {
	networks  []driver.NetworkID
	endpoints []driver.Endpoint
}

// judge compares the records with what the engine says it has, and returns those
// that were missing for [missingGrace]. What is there again is forgiven.
func (m *missing) judge(records []driver.Attached, view map[string]engine.Network, now time.Time) dead {
	still := make(map[string]time.Time)
	overdue := func(key string) bool {
		since, ok := m.since[key]
		if !ok {
			since = now
		}
		still[key] = since
		return now.Sub(since) >= missingGrace
	}
	var gone dead
	for _, a := range records {
		n, ok := view[string(a.Network.ID)]
		if !ok {
			if overdue("network " + string(a.Network.ID)) {
				gone.networks = append(gone.networks, a.Network.ID)
			}
			continue
		}
		for _, ep := range a.Endpoints {
			if !n.Endpoints[string(ep.ID)] && overdue("endpoint "+string(ep.ID)) {
				gone.endpoints = append(gone.endpoints, ep)
			}
		}
	}
	m.since = still
	return gone
}
