package dns

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// model is records as one would write them without a thought of speed: it keeps
// what it was told and walks through all of it for each lookup.
type model struct {
	networks map[NetworkID]string
	parts    map[NetworkID]map[HostID][]Endpoint
	suspects map[HostID]bool
	sandbox  Sandbox
}

// owners returns the endpoints of a network that have the name.
func (m *model) owners(id NetworkID, name string) (out []Endpoint) {
	if _, ok := m.networks[id]; !ok {
		return nil
	}
	for host, eps := range m.parts[id] {
		for _, ep := range eps {
			all := append([]string{ep.Name}, ep.Aliases...)
			if !m.suspects[host] && slices.ContainsFunc(all, func(s string) bool { return strings.EqualFold(s, name) }) {
				out = append(out, ep)
			}
		}
	}
	return out
}

// find returns the sorted addresses and whether the name is owned.
func (m *model) find(name string, f family) (addrs []string, owned bool) {
	// Each step is a list of endpoints; the first that is anybody's decides.
	var links [][]Endpoint
	for _, l := range m.sandbox.Links {
		if slices.Contains(m.sandbox.Networks, l.Network) &&
			(name == strings.ToLower(l.Alias) || name == strings.ToLower(l.Alias+"."+m.networks[l.Network])) {
			links = append(links, m.owners(l.Network, l.Target))
		}
	}
	var plain, long [][]Endpoint
	for _, id := range m.sandbox.Networks {
		plain = append(plain, m.owners(id, name))
		if head, ok := strings.CutSuffix(name, "."+strings.ToLower(m.networks[id])); ok {
			long = append(long, m.owners(id, head))
		}
	}
	for _, step := range [][][]Endpoint{links, plain, long} {
		for _, eps := range step {
			owned = owned || len(eps) > 0
			if addrs := addressesOf(eps, f); len(addrs) > 0 {
				return addrs, true
			}
		}
		if owned {
			return nil, true
		}
	}
	return nil, false
}

func addressesOf(eps []Endpoint, f family) (out []string) {
	for _, ep := range eps {
		for _, a := range ep.Addrs {
			if a.Is4() == (f == ipv4) {
				out = append(out, a.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *model) endpoints(rt *rapid.T) (eps []Endpoint) {
	names := rapid.SampledFrom([]string{"a", "B", "c.lab", "d"})
	for i := range rapid.IntRange(0, 3).Draw(rt, "count") {
		ep := Endpoint{ID: EndpointID(strconv.Itoa(i)), Name: names.Draw(rt, "name")}
		ep.Aliases = rapid.SliceOfN(names, 0, 2).Draw(rt, "aliases")
		for range rapid.IntRange(0, 2).Draw(rt, "addresses") {
			ep.Addrs = append(ep.Addrs, netip.MustParseAddr(
				rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.10", "fd00::1", "fd00::2"}).Draw(rt, "addr")))
		}
		eps = append(eps, ep)
	}
	return eps
}

func TestRecords_agreeWithTheModelInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		networks := rapid.SampledFrom([]NetworkID{"n1", "n2", "n3"})
		hosts := rapid.SampledFrom([]HostID{"h1", "h2"})
		m := &model{networks: map[NetworkID]string{}, parts: map[NetworkID]map[HostID][]Endpoint{}, suspects: map[HostID]bool{}}
		r := NewRecords()
		rt.Repeat(map[string]func(*rapid.T){
			"network": func(rt *rapid.T) {
				n := Network{ID: networks.Draw(rt, "id"), Name: rapid.SampledFrom([]string{"lab", "Lan", "x.lab"}).Draw(rt, "name")}
				m.networks[n.ID] = n.Name
				r.SetNetwork(n)
			},
			"remove network": func(rt *rapid.T) {
				id := networks.Draw(rt, "id")
				delete(m.networks, id)
				r.RemoveNetwork(id)
			},
			"replace": func(rt *rapid.T) {
				id, host, eps := networks.Draw(rt, "id"), hosts.Draw(rt, "host"), m.endpoints(rt)
				if m.parts[id] == nil {
					m.parts[id] = map[HostID][]Endpoint{}
				}
				m.parts[id][host] = eps
				r.Replace(id, host, eps)
			},
			"suspect": func(rt *rapid.T) {
				host, suspect := hosts.Draw(rt, "host"), rapid.Bool().Draw(rt, "suspect")
				m.suspects[host] = suspect
				r.SetSuspect(host, suspect)
			},
			"sandbox": func(rt *rapid.T) {
				s := Sandbox{Networks: rapid.SliceOfNDistinct(networks, 0, 3, rapid.ID).Draw(rt, "networks")}
				if rapid.Bool().Draw(rt, "link") {
					s.Links = []Link{{Network: networks.Draw(rt, "of"), Alias: "D", Target: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "target")}}
				}
				m.sandbox = s
				r.SetSandbox(box, s)
			},
			"forget sandbox": func(*rapid.T) {
				m.sandbox = Sandbox{}
				r.RemoveSandbox(box)
			},
			"": func(rt *rapid.T) { m.compare(rt, r) },
		})
	})
}

func (m *model) compare(rt *rapid.T, r *Records) {
	for _, name := range []string{"a", "b", "c.lab", "d", "a.lab", "d.lan", "a.x.lab", "c.lab.lab", "lab", "e"} {
		for _, f := range []family{ipv4, ipv6} {
			want, wantOwned := m.find(name, f)
			got, owned := lookup(r, name, f)
			slices.Sort(got)
			if owned != wantOwned || !slices.Equal(got, want) {
				rt.Fatalf("find %s in family %d = %v, owned %t; the model says %v, %t", name, f, got, owned, want, wantOwned)
			}
		}
	}
	// Nothing is kept of what is gone.
	for id, hosts := range r.parts {
		for host, eps := range hosts {
			if len(eps) == 0 {
				rt.Fatalf("network %s keeps an empty part of %s", id, host)
			}
		}
	}
	if ids := slices.Collect(maps.Keys(r.zones)); len(ids) != len(m.networks) {
		rt.Fatalf("there are zones of %v, but %d networks", ids, len(m.networks))
	}
}
