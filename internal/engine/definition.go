package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	apiversions "github.com/moby/moby/client/pkg/versions"
)

// makeTimeout bounds the making and the removal of a network. The engine asks the
// network's plugin several times for either.
const makeTimeout = time.Minute

// Sentinel errors of [Client.CreateNetwork] and [Client.RemoveNetwork]; test them with
// [errors.Is].
var (
	// ErrNameTaken says that the engine has a network of that name.
	ErrNameTaken = errors.New("name is taken")
	// ErrAttached says that a network has endpoints.
	ErrAttached = errors.New("network has endpoints")
)

// Definition is what makes a network, as a user says it.
type Definition struct {
	Name       string
	Driver     string
	Labels     map[string]string
	Options    map[string]string
	Internal   bool
	Attachable bool
	IPv4, IPv6 bool
	IPAM       IPAM
}

// IPAM is what a user says of a network's addresses.
type IPAM struct {
	Driver  string
	Options map[string]string
	// Subnets may leave out what the address manager is to choose.
	Subnets []Subnet
}

// Subnet is one subnet of a network. What is not valid was left open.
type Subnet struct {
	Subnet  netip.Prefix
	Range   netip.Prefix
	Gateway netip.Addr
	Aux     map[string]netip.Addr
}

// Defined is a network that the engine has.
type Defined struct {
	ID string
	Definition
}

// apiDefinition is how the API writes a definition, in its list and when one is made.
// Engines drop the fields that they do not know.
type apiDefinition struct {
	ID         string `json:"Id,omitempty"`
	Name       string
	Driver     string
	EnableIPv4 *bool `json:",omitempty"` // nil on engines before 28, where it goes without saying
	EnableIPv6 bool
	Internal   bool
	Attachable bool
	Options    map[string]string
	Labels     map[string]string
	IPAM       apiIPAM
	// CheckDuplicate keeps engines before 25 from making a second network of a name.
	CheckDuplicate bool `json:",omitempty"`
}

type apiIPAM struct {
	Driver  string
	Options map[string]string `json:",omitempty"`
	Config  []apiSubnet
}

type apiSubnet struct {
	Subnet             string            `json:",omitempty"`
	IPRange            string            `json:",omitempty"`
	Gateway            string            `json:",omitempty"`
	AuxiliaryAddresses map[string]string `json:",omitempty"`
}

// versionUnique is the first version of the API whose engines, 25 and later, hold a
// network's name from the first look at it until the network is there.
const versionUnique = "1.44"

// NamesUnique reports whether the engine never has two networks of one name, however
// close the requests for them come.
func (c *Client) NamesUnique(ctx context.Context) (_ bool, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return !apiversions.LessThan(s.api.ClientVersion(), versionUnique), nil
}

// Definitions returns every network of the engine, its own ones too, by id.
func (c *Client) Definitions(ctx context.Context) (_ map[string]Defined, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var list []apiDefinition
	if err := s.get(ctx, "/networks", &list); err != nil {
		return nil, err
	}
	all := make(map[string]Defined, len(list))
	for _, a := range list {
		all[a.ID] = Defined{ID: a.ID, Definition: a.definition()}
	}
	return all, nil
}

// CreateNetwork makes a network and returns its id. It is [ErrNameTaken] if there is
// one of that name.
func (c *Client) CreateNetwork(ctx context.Context, d Definition) (id string, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	var made struct{ Id string } //nolint:revive // the API's own name
	status, err := s.send(ctx, http.MethodPost, "/networks/create", encode(d), &made)
	if err != nil {
		if status == http.StatusConflict {
			err = fmt.Errorf("%w: %w", ErrNameTaken, err)
		}
		return "", fmt.Errorf("make network %s: %w", d.Name, err)
	}
	return made.Id, nil
}

// RemoveNetwork removes a network; one that is not there is fine. It is [ErrAttached]
// while containers are on it.
func (c *Client) RemoveNetwork(ctx context.Context, id string) (err error) {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	status, err := s.send(ctx, http.MethodDelete, "/networks/"+id, nil, nil)
	switch {
	case err == nil, status == http.StatusNotFound:
		return nil
	case status == http.StatusForbidden, status == http.StatusConflict:
		// moby daemon/libnetwork/error.go, ActiveEndpointsError.
		err = fmt.Errorf("%w: %w", ErrAttached, err)
	}
	return fmt.Errorf("remove network %s: %w", short(id), err)
}

func short(id string) string { return id[:min(len(id), 12)] }

// encode writes a definition as the API wants it.
func encode(d Definition) apiDefinition {
	a := apiDefinition{
		Name: d.Name, Driver: d.Driver, EnableIPv6: d.IPv6, Internal: d.Internal, Attachable: d.Attachable,
		Options: d.Options, Labels: d.Labels, CheckDuplicate: true,
		IPAM: apiIPAM{Driver: d.IPAM.Driver, Options: d.IPAM.Options},
	}
	if !d.IPv4 {
		a.EnableIPv4 = new(bool)
	}
	for _, s := range d.IPAM.Subnets {
		as := apiSubnet{Subnet: textOf(s.Subnet), IPRange: textOf(s.Range), Gateway: textOf(s.Gateway)}
		for name, addr := range s.Aux {
			if as.AuxiliaryAddresses == nil {
				as.AuxiliaryAddresses = make(map[string]string)
			}
			as.AuxiliaryAddresses[name] = addr.String()
		}
		a.IPAM.Config = append(a.IPAM.Config, as)
	}
	return a
}

// textOf leaves out what is not valid.
func textOf[T interface {
	IsValid() bool
	String() string
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

// definition reads what the API wrote. What cannot be read of a subnet counts as left
// open: it is a network of the engine's own, or of another plugin.
func (a apiDefinition) definition() Definition {
	d := Definition{
		Name: a.Name, Driver: a.Driver, Labels: a.Labels, Options: a.Options, Internal: a.Internal, Attachable: a.Attachable,
		IPv4: a.EnableIPv4 == nil || *a.EnableIPv4, IPv6: a.EnableIPv6,
		IPAM: IPAM{Driver: a.IPAM.Driver, Options: a.IPAM.Options},
	}
	for _, as := range a.IPAM.Config {
		s := Subnet{Subnet: prefixOf(as.Subnet), Range: prefixOf(as.IPRange), Gateway: addrOf(as.Gateway)}
		for _, name := range slices.Sorted(maps.Keys(as.AuxiliaryAddresses)) {
			if addr := addrOf(as.AuxiliaryAddresses[name]); addr.IsValid() {
				if s.Aux == nil {
					s.Aux = make(map[string]netip.Addr)
				}
				s.Aux[name] = addr
			}
		}
		d.IPAM.Subnets = append(d.IPAM.Subnets, s)
	}
	return d
}

func prefixOf(text string) netip.Prefix {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}
	}
	return p.Masked()
}

// addrOf reads an address. Engine 20.10 writes some with a prefix length.
func addrOf(text string) netip.Addr {
	text, _, _ = strings.Cut(text, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
