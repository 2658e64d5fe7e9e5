// Package cli is the operator's command: `docker ournet`, a plugin of the docker
// command line client, which runs by itself as well, as `docker-ournet`.
//
// It shows what plugin and engine say, and knows nothing of how a network is made.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/version"
)

const (
	// verb is what follows "docker".
	verb = "ournet"
	// envPlugin names the plugin to ask where the flag does not.
	envPlugin = "OURNET_PLUGIN"
	// metadataVerb is what the client calls first (docker/cli
	// cli-plugins/metadata/metadata.go).
	metadataVerb = "docker-cli-plugin-metadata"
	// envClient is what the client sets when it runs one of its plugins, from the
	// same file.
	envClient = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
)

// Process is what a command has of the process that it runs in.
type Process struct {
	// Args are the arguments without the program's name.
	Args           []string
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Run does what the arguments say and returns the process's exit code.
func Run(ctx context.Context, p Process) int {
	silent := logrus.New()
	silent.SetOutput(io.Discard) // what it has to say is in its errors
	c := &command{
		Process: p,
		socket:  admin.SocketPath,
		engine:  func(host string) namer { return engine.ForUser(host, silent) },
	}
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(p.Stderr, err) //nolint:errcheck // nobody is left to be told
		return 1
	}
	return 0
}

// namer knows the names of what the plugin knows by ids; *engine.Client.
type namer interface {
	Networks(ctx context.Context) (map[string]engine.Network, error)
	Containers(ctx context.Context) ([]engine.Container, error)
}

// command is one call of the program.
type command struct {
	Process

	socket func(plugin string) string
	engine func(host string) namer

	// What the flags say.
	plugin  string
	hosts   []string
	context string
}

func (c *command) run(ctx context.Context) error {
	root := c.root()                            //nolint:contextcheck // cobra hands it to the commands
	root.SetArgs(append([]string{}, c.Args...)) // given none, cobra takes the process's own for nil
	root.SetOut(c.Stdout)
	root.SetErr(c.Stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())
	})
	return root.ExecuteContext(ctx)
}

// root returns the tree of commands. The client calls `docker-ournet [its own flags]
// ournet VERB`; a person leaves "ournet" out.
func (c *command) root() *cobra.Command {
	ournet := c.ournet()
	root := ournet
	first := ""
	if len(c.Args) > 0 {
		first = c.Args[0]
	}
	if c.Getenv(envClient) != "" || first == verb || first == metadataVerb {
		root = &cobra.Command{Use: "docker"}
		root.AddCommand(ournet, c.metadata())
	} else {
		ournet.Use = "docker-" + verb
	}
	c.addClientFlags(root.PersistentFlags())
	return root
}

func (c *command) ournet() *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb,
		Short:   "Show what ournet has on this host",
		Version: version.Current,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetVersionTemplate("{{.DisplayName}} version {{.Version}}\n")
	name := c.Getenv(envPlugin)
	if name == "" {
		name = config.Defaults().Name
	}
	cmd.PersistentFlags().StringVar(&c.plugin, "plugin", name,
		"which plugin to ask, by its setting "+config.EnvName+"; the environment's "+envPlugin)
	cmd.AddCommand(c.ports(), c.network(), c.host())
	return cmd
}

// addClientFlags adds the docker client's own flags, which it hands on as they were
// given.
func (c *command) addClientFlags(to *pflag.FlagSet) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringArrayVarP(&c.hosts, "host", "H", nil, "the engine to ask for names; the environment's DOCKER_HOST")
	flags.StringVarP(&c.context, "context", "c", "", "")
	flags.BoolP("debug", "D", false, "")
	flags.StringP("log-level", "l", "", "")
	for _, name := range []string{"config", "tlscacert", "tlscert", "tlskey"} {
		flags.String(name, "", "")
	}
	for _, name := range []string{"tls", "tlsverify"} {
		flags.Bool(name, false, "")
	}
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = f.Name != "host" })
	to.AddFlagSet(flags)
}

// metadata describes this program to the client.
func (c *command) metadata() *cobra.Command {
	return &cobra.Command{
		Use:    metadataVerb,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			enc := json.NewEncoder(c.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(struct{ SchemaVersion, Vendor, Version, ShortDescription, URL string }{
				SchemaVersion:    "0.1.0", // the only one there is
				Vendor:           "ournet",
				Version:          version.Current,
				ShortDescription: "Networks, hosts and published ports of ournet",
				URL:              "https://github.com/ournet/ournet",
			})
		},
	}
}

// remark tells the user what is no error, a line on standard error.
func (c *command) remark(format string, args ...any) {
	fmt.Fprintf(c.Stderr, format+"\n", args...) //nolint:errcheck // nobody may read it
}

// networks asks the plugin.
func (c *command) networks(ctx context.Context) (admin.Networks, error) {
	client, err := c.client()
	if err != nil {
		return admin.Networks{}, err
	}
	n, err := client.Networks(ctx)
	return n, explain(err)
}

// client returns who asks the plugin that the flags mean.
func (c *command) client() (*admin.Client, error) {
	if c.context != "" && c.context != "default" {
		return nil, fmt.Errorf("--context %s: the plugin can only be asked on its own host: run the command there", c.context)
	}
	if err := config.CheckName(c.plugin); err != nil {
		return nil, fmt.Errorf("--plugin %q: %w", c.plugin, err)
	}
	return admin.New(c.socket(c.plugin)), nil
}

// explain adds to an error what to do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, admin.ErrPermission):
		err = fmt.Errorf("%w\nOnly root may ask the plugin: try again with sudo", err)
	case errors.Is(err, admin.ErrNotRunning):
		err = fmt.Errorf("%w\nSee `docker plugin ls`: one that is disabled is enabled with `docker plugin enable`, and one of another NAME is asked with --plugin", err)
	case errors.Is(err, admin.ErrUnknown):
		err = fmt.Errorf("%w\nIt is no ournet plugin, or one that is older than this command: see docs/install.md for how to upgrade it", err)
	}
	return err
}
