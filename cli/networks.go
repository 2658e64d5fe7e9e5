package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ournet/ournet/internal/admin"
)

// networksTable is what `network ls` shows when it is not told what to.
const networksTable = "table {{.ID}}\t{{.Name}}\t{{.Type}}\t{{.VNI}}\t{{.Subnets}}\t{{.Used}}\t{{.Free}}\t{{.Hosts}}\t{{.Status}}"

// network is one network as templates and JSON see it.
type network struct {
	ID        string // the engine's; "" if the network is not on this host
	ClusterID string // "" for a network of this host alone
	Name      string
	Type      string // bridge or overlay
	VNI       string // "" for a network of this host alone
	MTU       int    `json:",omitempty"`
	Internal  bool
	Created   time.Time
	Subnets   string
	Pools     []pool
	Used      string // addresses given out by this host, in all pools
	Free      string // addresses left
	Hosts     int    // how many it is on, this one included
	HostNames []string
	Endpoints int    // on all hosts
	Status    string // ok, removed, or what is wrong
}

// pool is one subnet of a network.
type pool struct {
	Subnet     netip.Prefix
	Used, Free string
}

func networkHeaders() map[string]string {
	return map[string]string{
		"ID": "NETWORK ID", "ClusterID": "CLUSTER ID", "Name": "NAME", "Type": "TYPE", "VNI": "VNI", "MTU": "MTU", "Internal": "INTERNAL",
		"Created": "CREATED", "Subnets": "SUBNETS", "Pools": "POOLS", "Used": "USED", "Free": "FREE", "Hosts": "HOSTS", "HostNames": "HOST NAMES",
		"Endpoints": "ENDPOINTS", "Status": "STATUS",
	}
}

func (c *command) network() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Networks of this host and of the cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.networkList(), c.networkInspect())
	return cmd
}

func (c *command) networkList() *cobra.Command {
	var (
		layout string
		whole  bool
	)
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List networks",
		Long: "List ournet's networks on this host and in its cluster, with their addresses, the hosts that they are on,\n" +
			"and what keeps one of them from being on this host.",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFormat(layout, networksTable, networkHeaders())
			if err != nil {
				return err
			}
			rows, err := c.listNetworks(cmd.Context())
			if err != nil {
				return err
			}
			if !whole {
				for i := range rows {
					rows[i].ID, rows[i].ClusterID = short(rows[i].ID), short(rows[i].ClusterID)
				}
			}
			return write(c.Stdout, f, rows)
		},
	}
	addListFlags(cmd, &layout, &whole)
	return cmd
}

func (c *command) networkInspect() *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short:                 "Show all about networks",
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := parseFormat(layout, "{{json .}}", networkHeaders())
			if err != nil {
				return err
			}
			all, err := c.listNetworks(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([]network, 0, len(args))
			for _, arg := range args {
				one, err := findNetwork(arg, all)
				if err != nil {
					return err
				}
				rows = append(rows, one)
			}
			if layout != "" {
				return write(c.Stdout, f, rows)
			}
			enc := json.NewEncoder(c.Stdout)
			enc.SetIndent("", "    ")
			return enc.Encode(rows)
		},
	}
	cmd.Flags().StringVar(&layout, "format", "", "a Go template for each network")
	return cmd
}

// findNetwork returns the one network that an argument means.
func findNetwork(arg string, all []network) (network, error) {
	things := make([]thing, 0, len(all))
	for _, n := range all {
		things = append(things, thing{kindNetwork, cmp.Or(n.ID, n.ClusterID), n.Name})
	}
	one, err := find(arg, "network of ournet's", things)
	if err != nil {
		return network{}, err
	}
	return all[slices.Index(things, one)], nil
}

// listNetworks returns all networks, by name.
func (c *command) listNetworks(ctx context.Context) ([]network, error) {
	local, err := c.networks(ctx)
	if err != nil {
		return nil, err
	}
	shared, err := c.cluster(ctx)
	if err != nil {
		return nil, err
	}
	var names directory
	if len(local.Networks) > 0 {
		if names, err = lookUp(ctx, c.engine(c.engineHost()), local, false); err != nil {
			c.remark("Names are not known, so ids are shown: %v", err)
		}
	}
	return networksOf(local, shared, names), nil
}

// networksOf joins what this host has with what the cluster has.
func networksOf(local admin.Networks, cluster admin.Cluster, names directory) []network {
	hosts := make(map[string]string, len(cluster.Hosts))
	for _, h := range cluster.Hosts {
		hosts[h.ID] = visible(cmp.Or(h.Name, h.ID))
	}
	shared := make(map[string]admin.SharedNetwork, len(cluster.Networks))
	for _, n := range cluster.Networks {
		shared[n.ID] = n
	}
	var rows []network
	for _, l := range local.Networks {
		n, isShared := shared[l.Shared]
		delete(shared, l.Shared)
		row := network{
			ID: l.ID, ClusterID: l.Shared, Name: visible(cmp.Or(names.networks[l.ID].Name, n.Name)), Type: cmp.Or(l.Type, "bridge"),
			Internal: l.Internal, Created: l.Created, Hosts: 1, Endpoints: len(l.Endpoints), Status: "ok",
		}
		row.addPools(l.Pools)
		if isShared {
			row.addShared(n, hosts)
		}
		rows = append(rows, row)
	}
	for _, n := range shared {
		row := network{ClusterID: n.ID, Name: visible(n.Name), Type: "overlay", Internal: n.Internal, Created: n.Created, Status: "not on this host"}
		row.Subnets = joined(n.Subnets)
		row.addShared(n, hosts)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b network) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), cmp.Compare(a.ClusterID, b.ClusterID))
	})
	return rows
}

func (n *network) addPools(pools []admin.Pool) {
	var used, free uint64
	subnets := make([]netip.Prefix, 0, len(pools))
	for _, p := range pools {
		subnets = append(subnets, p.Subnet)
		n.Pools = append(n.Pools, pool{p.Subnet, count(p.Used), count(p.Free)})
		used, free = sum(used, p.Used), sum(free, p.Free)
	}
	n.Subnets, n.Used, n.Free = joined(subnets), count(used), count(free)
}

// sum stays at the largest number there is.
func sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// count writes a number of addresses; IPv6 subnets have more than anybody counts.
func count(n uint64) string {
	if n > math.MaxUint32 {
		return "many"
	}
	return strconv.FormatUint(n, 10)
}

func (n *network) addShared(s admin.SharedNetwork, hosts map[string]string) {
	n.VNI, n.MTU, n.Hosts, n.Endpoints = strconv.FormatUint(uint64(s.VNI), 10), s.MTU, len(s.Hosts), max(n.Endpoints, s.Endpoints)
	for _, id := range s.Hosts {
		n.HostNames = append(n.HostNames, cmp.Or(hosts[id], id))
	}
	slices.Sort(n.HostNames)
	switch {
	case s.Problem != "":
		n.Status = visible(s.Problem)
	case s.Removed:
		n.Status = "removed"
	}
}
