package driver

import "fmt"

// Minder is a [Driver] that can tell whether an endpoint's interface is as it made it.
type Minder interface {
	// Intact reports that, if the interface is one of devices; of others it says
	// that they are.
	Intact(n Network, ep Endpoint, devices []string) (bool, error)
}

// Disturbed reports whether one of the devices is the interface of an endpoint that
// has joined, and not as it was made. It changes nothing and waits for no verb, so
// that one which is under way may make it see what is about to be right: it is a
// reason to reconcile, not a finding.
func (r *Registry) Disturbed(devices []string) (bool, error) {
	for _, a := range r.All() {
		m, ok := r.drivers[a.Network.Options.Type].(Minder)
		if !ok {
			continue
		}
		for _, ep := range a.Endpoints {
			if ep.SandboxKey == "" {
				continue
			}
			intact, err := m.Intact(a.Network, ep, devices)
			if err != nil {
				return false, fmt.Errorf("look at the interface of endpoint %s: %w", ep.ID.Short(), err)
			}
			if !intact {
				return true, nil
			}
		}
	}
	return false, nil
}
