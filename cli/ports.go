package cli

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ournet/ournet/internal/admin"
)

// portsTable is what `ports` shows when it is not told what to.
const portsTable = "table {{.Network}}\t{{.Container}}\t{{.Address}}\t{{.HostAddress}}"

// port is one published port as templates and JSON see it.
type port struct {
	Network     string // its id if the name is not known
	NetworkID   string
	Container   string // the endpoint's id if the name is not known
	ContainerID string // "" if it is not known
	EndpointID  string
	Address     string // 10.0.0.2:80/tcp
	IP          netip.Addr
	Port        uint16
	Protocol    string
	HostAddress string // 0.0.0.0:8080; "" if the host has no port for it, only the container
	HostIP      netip.Addr
	HostPort    uint16
}

// portHeaders are the titles of columns, by field.
func portHeaders() map[string]string {
	return map[string]string{
		"Network": "NETWORK", "NetworkID": "NETWORK ID", "Container": "CONTAINER", "ContainerID": "CONTAINER ID",
		"EndpointID": "ENDPOINT ID", "Address": "ADDRESS", "IP": "IP", "Port": "PORT", "Protocol": "PROTOCOL",
		"HostAddress": "HOST ADDRESS", "HostIP": "HOST IP", "HostPort": "HOST PORT",
	}
}

func (c *command) ports() *cobra.Command {
	var (
		layout string
		whole  bool
	)
	cmd := &cobra.Command{
		Use:   "ports [OPTIONS] [NETWORK|CONTAINER]",
		Short: "List published ports",
		Long: "List the ports of containers that ournet publishes on this host now, all of them or those of one\n" +
			"network or container, given by its name, its id, or the beginning of its id.",
		Args:                  cobra.MaximumNArgs(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := parseFormat(layout, portsTable, portHeaders())
			if err != nil {
				return err
			}
			rows, err := c.listPorts(cmd.Context(), args)
			if err != nil {
				return err
			}
			if !whole {
				for i := range rows {
					rows[i].truncate()
				}
			}
			return write(c.Stdout, f, rows)
		},
	}
	addListFlags(cmd, &layout, &whole)
	return cmd
}

// listPorts returns the ports that args ask for, sorted.
func (c *command) listPorts(ctx context.Context, args []string) ([]port, error) {
	have, err := c.networks(ctx)
	if err != nil {
		return nil, err
	}
	unreadable := 0
	for _, n := range have.Networks {
		unreadable += n.Unreadable
	}
	if unreadable > 0 {
		c.remark("A later version of the plugin has recorded %d endpoints, whose ports are not shown", unreadable)
	}
	var names directory
	if len(have.Networks) > 0 || len(args) > 0 {
		if names, err = lookUp(ctx, c.engine(c.engineHost()), have, len(args) > 0); err != nil {
			c.remark("Names are not known, so ids are shown: %v", err)
		}
	}
	rows := portsOf(have, names)
	if len(args) > 0 {
		one, err := find(args[0], "network of ournet's and no container", names.things(have))
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(p port) bool { return !p.isOf(one) })
	}
	slices.SortFunc(rows, comparePorts)
	return rows, nil
}

// engineHost returns what --host says; the client takes the last one.
func (c *command) engineHost() string {
	if len(c.hosts) == 0 {
		return ""
	}
	return c.hosts[len(c.hosts)-1]
}

// portsOf joins what the plugin has with the names that the engine has for it.
func portsOf(have admin.Networks, names directory) []port {
	var rows []port
	for _, n := range have.Networks {
		for _, ep := range n.Endpoints {
			container := names.container(n.ID, ep.ID)
			for _, p := range ep.Ports {
				rows = append(rows, port{
					Network: visible(names.networks[n.ID].Name), NetworkID: n.ID,
					Container: visible(container.Name), ContainerID: container.ID, EndpointID: ep.ID,
					Address: p.Container.String() + "/" + p.Protocol, IP: p.Container.Addr(), Port: p.Container.Port(), Protocol: p.Protocol,
					HostAddress: hostAddress(p.Host), HostIP: p.Host.Addr(), HostPort: p.Host.Port(),
				})
			}
		}
	}
	for i := range rows {
		rows[i].Network = cmp.Or(rows[i].Network, rows[i].NetworkID)
		rows[i].Container = cmp.Or(rows[i].Container, rows[i].EndpointID)
	}
	return rows
}

// hostAddress leaves out what is reached at the container's own address alone, on a
// network whose gateway is routed.
func hostAddress(a netip.AddrPort) string {
	if a.Port() == 0 {
		return ""
	}
	return a.String()
}

// visible takes from a name what would move the cursor or begin a line: the engine lets
// networks have any.
func visible(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

// isOf reports whether the port is one of the network's or the container's.
func (p port) isOf(t thing) bool {
	if t.kind == kindNetwork {
		return p.NetworkID == t.id
	}
	if p.ContainerID == "" { // it is joining, or nobody knows it
		return p.EndpointID == t.id || p.Container == t.name
	}
	return p.ContainerID == t.id
}

// truncate shortens ids, also where one stands for a name.
func (p *port) truncate() {
	if p.Network == p.NetworkID {
		p.Network = short(p.Network)
	}
	if p.Container == p.EndpointID {
		p.Container = short(p.Container)
	}
	p.NetworkID, p.ContainerID, p.EndpointID = short(p.NetworkID), short(p.ContainerID), short(p.EndpointID)
}

func comparePorts(a, b port) int {
	return cmp.Or(
		cmp.Compare(a.Network, b.Network), cmp.Compare(a.NetworkID, b.NetworkID),
		cmp.Compare(a.Container, b.Container), cmp.Compare(a.EndpointID, b.EndpointID),
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.IP.Compare(b.IP),
		a.HostIP.Compare(b.HostIP), cmp.Compare(a.HostPort, b.HostPort),
	)
}
