package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ournet/ournet/internal/admin"
)

// hostsTable is what `host ls` shows when it is not told what to.
const hostsTable = "table {{.ID}}{{if .Self}} *{{end}}\t{{.Name}}\t{{.Address}}\t{{.State}}\t{{.LastSeen}}\t{{.Endpoints}}"

// kindHost is what an argument of `host rm` means.
const kindHost = "host"

// host is one host of the cluster as templates and JSON see it.
type host struct {
	ID        string
	Name      string
	Self      bool   // whether it is the one that was asked
	Address   string // several have commas between them
	State     string // up or suspect
	LastSeen  string // how long ago, "" if nobody knows
	Endpoints int
	Version   string
}

func hostHeaders() map[string]string {
	return map[string]string{
		"ID": "HOST ID", "Name": "NAME", "Self": "", "Address": "ADDRESS", "State": "STATE", "LastSeen": "LAST SEEN",
		"Endpoints": "ENDPOINTS", "Version": "VERSION",
	}
}

func (c *command) host() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Hosts of the cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.hostList(), c.hostRemove())
	return cmd
}

func (c *command) hostList() *cobra.Command {
	var (
		layout string
		whole  bool
	)
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List the hosts of the cluster",
		Long: "List the hosts of the cluster, this one with an asterisk. A host that gives no sign of life is\n" +
			"suspect; it is removed after 24 hours, or with `host rm`.",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFormat(layout, hostsTable, hostHeaders())
			if err != nil {
				return err
			}
			have, err := c.cluster(cmd.Context())
			if err != nil {
				return err
			}
			rows := hostsOf(have, time.Now())
			if !whole {
				for i := range rows {
					rows[i].ID = short(rows[i].ID)
				}
			}
			return write(c.Stdout, f, rows)
		},
	}
	addListFlags(cmd, &layout, &whole)
	return cmd
}

// addListFlags adds the flags that all lists have.
func addListFlags(cmd *cobra.Command, layout *string, whole *bool) {
	cmd.Flags().StringVar(layout, "format", "",
		"'table', 'table TEMPLATE', 'json' (one object a line), or a Go template for each line")
	cmd.Flags().BoolVar(whole, "no-trunc", false, "do not shorten ids")
}

func (c *command) hostRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "rm HOST [HOST...]",
		Short: "Remove hosts that are gone for good from the cluster",
		Long: "Remove hosts that are gone for good from the cluster, given by name, id, or the beginning of the id:\n" +
			"their containers are forgotten and their addresses are free. A host that is alive is refused.",
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			have, err := c.cluster(cmd.Context())
			if err != nil {
				return err
			}
			all := make([]thing, 0, len(have.Hosts))
			for _, h := range have.Hosts {
				all = append(all, thing{kindHost, h.ID, h.Name})
			}
			var errs []error
			for _, arg := range args {
				errs = append(errs, c.removeHost(cmd.Context(), arg, all))
			}
			return errors.Join(errs...)
		},
	}
}

func (c *command) removeHost(ctx context.Context, arg string, all []thing) error {
	one, err := find(arg, "host in the cluster", all)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := explain(client.RemoveHost(ctx, one.id)); err != nil {
		return fmt.Errorf("remove %s: %w", one, err)
	}
	_, err = fmt.Fprintln(c.Stdout, arg)
	return err
}

// cluster asks the plugin, and says what keeps the answer from being whole.
func (c *command) cluster(ctx context.Context) (admin.Cluster, error) {
	client, err := c.client()
	if err != nil {
		return admin.Cluster{}, err
	}
	have, err := client.Cluster(ctx)
	if err != nil {
		return admin.Cluster{}, explain(err)
	}
	if have.Problem != "" {
		c.remark("The cluster store cannot be used now: %s", have.Problem)
	}
	return have, nil
}

// hostsOf returns the rows of a list, by name.
func hostsOf(have admin.Cluster, now time.Time) []host {
	rows := make([]host, 0, len(have.Hosts))
	for _, h := range have.Hosts {
		rows = append(rows, host{
			ID: h.ID, Name: visible(h.Name), Self: h.Self, Address: joined(h.Addresses), State: h.State,
			LastSeen: ago(h.LastSeen, now), Endpoints: h.Endpoints, Version: visible(h.Version),
		})
	}
	slices.SortFunc(rows, func(a, b host) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return rows
}

// ago tells a time as people say it.
func ago(then, now time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return ""
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

func joined[T netip.Addr | netip.Prefix](list []T) string {
	words := make([]string, 0, len(list))
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}
