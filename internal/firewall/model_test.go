package firewall

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ournet/ournet/internal/netnstest"
)

// In whatever order things are added and removed, the kernel ends with what one
// Set of the final state makes.
func TestTable_anyOrderOfChangesGivesTheStateOfTheLast(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	table := newTable(t)
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := table.Set(t.Context(), State{}); err != nil {
			rt.Fatal(err)
		}
		m := model{networks: make(map[string]Network), ports: make(map[hostPort]Port)}
		actions := m.actions(t.Context(), table)
		// Few steps, many runs: each removal waits 10 ms for the kernel.
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			actions[rapid.SampledFrom(slices.Sorted(maps.Keys(actions))).Draw(rt, "action")](rt)
		}
		changed, err := table.Set(t.Context(), m.state())
		if err != nil || len(changed) > 0 {
			rt.Fatalf("Set of the final state: %q, %v; want no change", changed, err)
		}
	})
}

// model is what a [Table] should have been told.
type model struct {
	networks map[string]Network
	ports    map[hostPort]Port
	engine   []string
}

func (m *model) state() State {
	return State{
		Networks:      slices.Collect(maps.Values(m.networks)),
		Ports:         slices.Collect(maps.Values(m.ports)),
		EngineBridges: m.engine,
	}
}

func (m *model) actions(ctx context.Context, table *Table) map[string]func(*rapid.T) {
	bridge := rapid.Custom(func(rt *rapid.T) string { return fmt.Sprintf("on-%d", rapid.IntRange(0, 3).Draw(rt, "bridge")) })
	port := rapid.Custom(func(rt *rapid.T) Port {
		n := rapid.IntRange(0, 3).Draw(rt, "container")
		p := Port{
			Protocol: rapid.SampledFrom([]uint8{6, 17, 132}).Draw(rt, "protocol"), HostPort: uint16(rapid.IntRange(0, 3).Draw(rt, "host port")),
			HostAddr: netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1", "::", "2001:db8::1"}).Draw(rt, "host address")),
			Addr:     netip.MustParseAddr(fmt.Sprintf("10.%d.0.2", n)), Port: 80, Bridge: fmt.Sprintf("on-%d", n),
		}
		if p.HostAddr.Is6() {
			p.Addr = netip.MustParseAddr(fmt.Sprintf("fd00:%d::2", n))
		}
		p.Open = p.HostPort == 0 || rapid.Bool().Draw(rt, "open")
		return p
	})
	check := func(rt *rapid.T, err error) {
		if err != nil {
			rt.Fatal(err)
		}
	}
	return map[string]func(*rapid.T){
		"add network": func(rt *rapid.T) {
			n := Network{
				Bridge: bridge.Draw(rt, "bridge"), ICC: rapid.Bool().Draw(rt, "icc"),
				Internal: rapid.Bool().Draw(rt, "internal"),
				Trusted:  rapid.SampledFrom([][]string{nil, {"eth1"}, {"eth1", "eth2"}}).Draw(rt, "trusted"),
			}
			masquerade := rapid.Bool().Draw(rt, "masquerade")
			_, n.IPv4 = testGateway(rapid.IntRange(0, 2).Draw(rt, "IPv4"), masquerade, "192.0.2.1")
			_, n.IPv6 = testGateway(rapid.IntRange(0, 2).Draw(rt, "IPv6"), masquerade, "2001:db8::1")
			for _, s := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"10.0.0.0/24", "10.0.1.0/24", "10.1.0.0/16", "fd00::/64"}),
				rapid.ID[string]).Draw(rt, "subnets") {
				n.Subnets = append(n.Subnets, netip.MustParsePrefix(s))
			}
			check(rt, table.AddNetwork(ctx, n))
			m.networks[n.Bridge] = n
		},
		"remove network": func(rt *rapid.T) {
			b := bridge.Draw(rt, "bridge")
			check(rt, table.RemoveNetwork(ctx, b))
			delete(m.networks, b)
		},
		"add ports": func(rt *rapid.T) {
			ports := rapid.SliceOfN(port, 1, 3).Draw(rt, "ports")
			check(rt, table.AddPorts(ctx, ports...))
			for _, p := range ports {
				m.ports[p.key()] = p
			}
		},
		"remove ports": func(rt *rapid.T) {
			ports := rapid.SliceOfN(port, 1, 3).Draw(rt, "ports")
			check(rt, table.RemovePorts(ctx, ports...))
			for _, p := range ports {
				if m.ports[p.key()] == p {
					delete(m.ports, p.key())
				}
			}
		},
		"engine bridges": func(rt *rapid.T) {
			m.engine = rapid.SliceOf(rapid.SampledFrom([]string{"docker0", "br-0", "br-1"})).Draw(rt, "bridges")
			check(rt, table.SetEngineBridges(ctx, m.engine))
		},
	}
}
