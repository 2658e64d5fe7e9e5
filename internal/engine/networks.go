package engine

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"slices"
)

// optBridgeName is the option that names the device of a built-in bridge network.
const optBridgeName = "com.docker.network.bridge.name"

// Network is what the engine knows of a network.
type Network struct {
	Name   string
	Driver string
	// Endpoints has the id of every endpoint in it, those included whose
	// container is about to join.
	Endpoints map[string]bool
	// EndpointNames are the names of their containers, by endpoint id.
	EndpointNames map[string]string
	// EndpointContainers are the ids of their containers, by endpoint id. One that
	// is about to join is not in it.
	EndpointContainers map[string]string
	// Subnets are what its address manager gave it.
	Subnets []netip.Prefix
}

// apiNetwork is the part of the API's network that we read.
type apiNetwork struct {
	ID         string `json:"Id"`
	Name       string
	Driver     string
	Options    map[string]string
	Containers map[string]struct{ Name, EndpointID string }
	IPAM       struct {
		Driver string
		Config []struct{ Subnet string }
	}
}

// remote reports whether a driver or an address manager of the network is not
// the engine's own.
func (n apiNetwork) remote() bool {
	return !builtin(n.Driver) || n.IPAM.Driver != "" && n.IPAM.Driver != "default" && n.IPAM.Driver != "null"
}

// builtin reports whether a driver is one of the engine's own. All others are
// remote; ours goes by the plugin's full reference as well as by its short name,
// so a network is known by its id and not by the name of its driver.
func builtin(driver string) bool {
	switch driver {
	case "bridge", "host", "null", "overlay", "macvlan", "ipvlan", "transparent", "l2bridge", "nat":
		return true
	default:
		return false
	}
}

// ErrOther says that the engine that answers is not the one that runs the plugin.
var ErrOther = errors.New("the engine that answers does not run this plugin")

// View is what the engine knows that concerns us.
type View struct {
	// Networks are all that have a remote driver or a remote address manager, by id,
	// with their endpoints.
	Networks map[string]Network
	// Bridges are the names of the devices of the engine's own bridge networks, sorted.
	// The engine filters what they forward; what is on them is not ours.
	Bridges []string
}

// View asks the engine for all of it, or fails; with [ErrOther] if it does not run the
// plugin of that id. "" asks whatever engine answers.
func (c *Client) View(ctx context.Context, plugin string) (_ View, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return View{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if plugin != "" {
		switch ours, err := s.runs(ctx, plugin); {
		case err != nil:
			return View{}, err
		case !ours:
			return View{}, ErrOther
		}
	}
	var list []apiNetwork
	if err := s.get(ctx, "/networks", &list); err != nil {
		return View{}, err
	}
	v := View{Networks: make(map[string]Network)}
	for _, listed := range list {
		if listed.Driver == "bridge" {
			v.Bridges = append(v.Bridges, bridgeName(listed))
		}
		if !listed.remote() {
			continue
		}
		// The list has no endpoints; only the network itself has.
		var n apiNetwork
		if err := s.get(ctx, "/networks/"+listed.ID, &n); errors.Is(err, ErrNotFound) {
			continue // removed since
		} else if err != nil {
			return View{}, err
		}
		v.Networks[n.ID] = n.view()
	}
	slices.Sort(v.Bridges)
	return v, nil
}

// Networks returns [View.Networks] of whatever engine answers.
func (c *Client) Networks(ctx context.Context) (map[string]Network, error) {
	v, err := c.View(ctx, "")
	return v.Networks, err
}

// Network returns one network. The error is [ErrNotFound] if there is none; so it is
// while the engine waits for its driver to make it.
func (c *Client) Network(ctx context.Context, id string) (_ Network, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return Network{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var n apiNetwork
	if err := s.get(ctx, "/networks/"+url.PathEscape(id), &n); err != nil {
		return Network{}, err
	}
	return n.view(), nil
}

func (n apiNetwork) view() Network {
	v := Network{
		Name:               n.Name,
		Driver:             n.Driver,
		Endpoints:          make(map[string]bool, len(n.Containers)),
		EndpointNames:      make(map[string]string, len(n.Containers)),
		EndpointContainers: make(map[string]string, len(n.Containers)),
	}
	// The keys are ids of containers, or "ep-" and the endpoint's id while the
	// container is joining.
	for key, c := range n.Containers {
		v.Endpoints[c.EndpointID] = true
		v.EndpointNames[c.EndpointID] = c.Name
		if key != "ep-"+c.EndpointID {
			v.EndpointContainers[c.EndpointID] = key
		}
	}
	for _, c := range n.IPAM.Config {
		// What is no subnet is none of ours.
		if p, err := netip.ParsePrefix(c.Subnet); err == nil {
			v.Subnets = append(v.Subnets, p.Masked())
		}
	}
	return v
}

// bridgeName returns the device's name: as asked for, or as the engine makes one
// from the id (moby daemon/libnetwork/drivers/bridge).
func bridgeName(n apiNetwork) string {
	switch name := n.Options[optBridgeName]; {
	case name != "":
		return name
	case n.Name == "bridge":
		return "docker0"
	case n.Name == "docker_gwbridge":
		return n.Name
	default:
		return "br-" + n.ID[:min(len(n.ID), 12)]
	}
}
