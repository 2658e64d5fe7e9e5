package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// resident is a living container's place on a network of the cluster, as its engine
// shows it.
type resident struct {
	host      *host
	container string
	namespace string // the file of its network namespace
	network   sharedNetwork
	endpoint  string
	mac       string
	ipv4      string
	ipv6      string
}

func (r resident) name() string { return r.container + " of " + r.host.Name }

func (r resident) addresses() []string {
	return slices.DeleteFunc([]string{r.ipv4, r.ipv6}, func(a string) bool { return a == "" })
}

// residents returns all living containers of the cluster's networks.
func (c *cluster) residents() ([]resident, error) {
	networks, err := c.sharedNetworks()
	if err != nil {
		return nil, err
	}
	return c.residentsOf(func(n network) (sharedNetwork, bool) { return sharedOf(networks, n) })
}

// residentsWithout is residents of one network, without the store.
func (c *cluster) residentsWithout(name string) ([]resident, error) {
	return c.residentsOf(func(n network) (sharedNetwork, bool) { return sharedNetwork{name: name}, n.Name == name })
}

func (c *cluster) residentsOf(shared func(n network) (sharedNetwork, bool)) ([]resident, error) {
	found := make([][]resident, len(c.hosts))
	var g errgroup.Group
	for i, h := range c.hosts {
		g.Go(func() (err error) {
			found[i], err = h.residents(shared)
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(found...), err
}

func (h *host) residents(shared func(n network) (sharedNetwork, bool)) ([]resident, error) {
	here, err := h.ournetNetworks()
	if err != nil {
		return nil, err
	}
	first, err := h.FirstPID()
	if err != nil {
		return nil, err
	}
	containers, err := h.inhabitants()
	if err != nil {
		return nil, err
	}
	var all []resident
	for name, inhabitant := range containers {
		for _, a := range inhabitant.NetworkSettings.Networks {
			i := slices.IndexFunc(here, func(n network) bool { return n.ID == a.NetworkID })
			if i < 0 {
				continue // another driver's
			}
			on, ok := shared(here[i])
			if !ok {
				continue // of this host alone
			}
			all = append(all, resident{
				host: h, container: name, network: on, endpoint: a.EndpointID,
				namespace: inhabitant.namespace(first),
				mac:       a.MacAddress, ipv4: a.IPAddress, ipv6: a.GlobalIPv6Address,
			})
		}
	}
	return all, nil
}

// found is what hosts, containers and store really have. They are looked at side by
// side, so that a look is short.
func (c *cluster) found(networks map[string]sharedNetwork, residents []resident) (facts, error) {
	looks := []func(have facts) error{func(have facts) error { return c.findRecords(have, networks) }}
	for _, h := range c.hosts {
		looks = append(looks, h.findDevices)
	}
	for _, r := range residents {
		looks = append(looks, r.findInterface, func(have facts) error {
			r.findNames(c.Context(), have, residents)
			return nil
		})
	}
	parts := make([]facts, len(looks))
	var g errgroup.Group
	for i, look := range looks {
		parts[i] = facts{}
		g.Go(func() error { return look(parts[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	have := facts{}
	for _, part := range parts {
		for place, lines := range part {
			have[place] = append(have[place], lines...)
		}
	}
	have.sort()
	return have, nil
}

// findNames adds what the resident finds by the names of its network.
func (r resident) findNames(ctx context.Context, have facts, residents []resident) {
	for name := range namesOf(r.network.cluster, residents) {
		full := name + "." + r.network.name
		// Who has no such name gets an error, which is a fact as any other.
		addrs, err := r.resolve(ctx, full)
		if err != nil {
			addrs = []string{err.Error()}
		}
		have.add(r.host.Name, "%s", nameLine(r.container, full, addrs))
	}
}

// devicesScript prints the links, the forwarding entries, the neighbours and our nft
// table of a host, a line of JSON each.
const devicesScript = `
ip -json -d link | tr -d '\n'; echo
bridge -json fdb show | tr -d '\n'; echo
ip -json neigh show nud permanent | tr -d '\n'; echo
nft list table inet ournet`

// findDevices adds what the host's kernel has for networks of the cluster.
func (h *host) findDevices(have facts) error {
	text, err := h.Exec(h.ctx, "sh", "-c", devicesScript)
	if err != nil {
		return err
	}
	parts := strings.SplitN(text, "\n", 4)
	if len(parts) != 4 {
		return fmt.Errorf("the host prints %q", text)
	}
	var links []struct {
		Name   string `json:"ifname"`
		Master string `json:"master"`
		Info   struct {
			Kind string `json:"info_kind"`
			Data struct {
				ID     uint32 `json:"id"`
				Local  string `json:"local"`
				Local6 string `json:"local6"`
			} `json:"info_data"`
		} `json:"linkinfo"`
	}
	var entries []struct {
		MAC string `json:"mac"`
		Dev string `json:"ifname"`
		Dst string `json:"dst"`
	}
	var neighbours []struct {
		Addr string `json:"dst"`
		Dev  string `json:"dev"`
		MAC  string `json:"lladdr"`
	}
	for i, list := range []any{&links, &entries, &neighbours} {
		if err := json.Unmarshal([]byte(parts[i]), list); err != nil && parts[i] != "" {
			return fmt.Errorf("decode %.200q: %w", parts[i], err)
		}
	}
	place := h.Name
	for _, l := range links {
		if l.Info.Kind == "vxlan" {
			have.add(place, "%s", tunnelLine(l.Name, l.Info.Data.ID, l.Master, l.Info.Data.Local+l.Info.Data.Local6))
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Dev, "onx") && e.Dst != "" {
			have.add(place, "%s", forwardLine(e.Dev, e.MAC, e.Dst))
		}
	}
	for _, n := range neighbours {
		if strings.HasPrefix(n.Dev, "on-") {
			have.add(place, "%s", neighbourLine(n.Dev, n.Addr, n.MAC))
		}
	}
	for _, addr := range sourcesOf(parts[3]) {
		have.add(place, "%s", sourceLine(addr))
	}
	return nil
}

// sourceSet matches the sets of whose packets between hosts are let in.
var sourceSet = regexp.MustCompile(`(?s)set vteps[46] \{.*?\}\s*\}`)

// sourcesOf returns the elements of those sets.
func sourcesOf(table string) []string {
	var all []string
	for _, set := range sourceSet.FindAllString(table, -1) {
		_, list, ok := strings.Cut(set, "elements = {")
		if !ok {
			continue
		}
		for element := range strings.SplitSeq(strings.Trim(list, "}\t\n "), ",") {
			all = append(all, strings.TrimSpace(element))
		}
	}
	return all
}

// findInterface adds what the container's own namespace says of the resident's
// interface, which is the one with its MAC address.
func (r resident) findInterface(have facts) error {
	links, err := interfacesIn(r.namespace)
	if err != nil {
		return fmt.Errorf("interfaces of %s: %w", r.name(), err)
	}
	for _, l := range links {
		if l.mac != r.mac {
			continue
		}
		var addrs []string
		for _, a := range l.addrs {
			if !a.IsLinkLocalUnicast() {
				addrs = append(addrs, a.String())
			}
		}
		have.add(r.host.Name, "%s", interfaceLine(r.container, r.network.name, l.mac, addrs))
	}
	return nil
}

// resolve asks the resolver that the container asks.
func (r resident) resolve(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialWithin(ctx, r.namespace, network, "127.0.0.11:53")
	}}
	return resolver.LookupHost(ctx, name+".")
}
