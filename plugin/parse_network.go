package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ournet/ournet/driver"
)

// The options of CreateNetwork (moby daemon/libnetwork/netlabel/labels.go).
const (
	optGeneric    = "com.docker.network.generic"
	optEnableIPv4 = driver.OptEnableIPv4
	optEnableIPv6 = driver.OptEnableIPv6
	optInternal   = "com.docker.network.internal"
)

// createNetworkRequest is netapi's with raw options, so that each is decoded
// into its own type.
type createNetworkRequest struct {
	NetworkID string
	Options   map[string]json.RawMessage
	IPv4Data  []poolData
	IPv6Data  []poolData
}

// poolData is the address manager's word on one pool of a network.
type poolData struct {
	AddressSpace string
	Pool         string
	Gateway      string
	AuxAddresses map[string]string
}

func parseNetwork(req *createNetworkRequest) (driver.Network, error) {
	id, err := parseNetworkID(req.NetworkID)
	if err != nil {
		return driver.Network{}, err
	}
	n := driver.Network{ID: id}
	given, err := parseGeneric(req.Options[optGeneric])
	if err != nil {
		return driver.Network{}, err
	}
	if n.Options, err = driver.ParseOptions(given); err != nil {
		return driver.Network{}, err
	}
	if n.Internal, err = parseFlag(req.Options, optInternal); err != nil {
		return driver.Network{}, err
	}
	for _, family := range []struct {
		flag, name string
		is6        bool
		pools      []poolData
	}{
		{optEnableIPv4, "IPv4", false, req.IPv4Data},
		{optEnableIPv6, "IPv6", true, req.IPv6Data},
	} {
		enabled, err := parseFlag(req.Options, family.flag)
		if err != nil {
			return driver.Network{}, err
		}
		if enabled && len(family.pools) == 0 {
			return driver.Network{}, fmt.Errorf("%s is on but the network has no %s subnet", family.name, family.name)
		}
		for _, p := range family.pools {
			s, err := parsePool(p, family.is6)
			if err != nil {
				return driver.Network{}, fmt.Errorf("%s subnet: %w", family.name, err)
			}
			n.Subnets = append(n.Subnets, s)
		}
		if err := checkFamily(given, family.flag, len(family.pools) > 0); err != nil {
			return driver.Network{}, err
		}
	}
	if len(n.Subnets) == 0 {
		return driver.Network{}, errors.New("the network has no subnet; ournet needs one")
	}
	return n, nil
}

// parseGeneric reads what the user gave with -o.
func parseGeneric(raw json.RawMessage) (map[string]string, error) {
	var values map[string]json.RawMessage
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &values); err != nil {
			return nil, fmt.Errorf("%w: %s is not an object", driver.ErrOption, optGeneric)
		}
	}
	options := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		var s *string
		if err := json.Unmarshal(values[key], &s); err != nil || s == nil {
			return nil, fmt.Errorf("%w: the value of %q is not a string", driver.ErrOption, key)
		}
		options[key] = *s
	}
	return options, nil
}

// checkFamily refuses a choice of family by -o that the engine did not follow: those
// before 28 know the flag for IPv6 alone.
func checkFamily(given map[string]string, key string, has bool) error {
	asked, ok := given[key]
	if !ok {
		return nil
	}
	if on, err := strconv.ParseBool(asked); err == nil && on == has {
		return nil
	}
	return fmt.Errorf("%w %s=%s: this engine did not follow it; use --ipv4 and --ipv6, or a newer engine", driver.ErrOption, key, asked)
}

// parseFlag reads a boolean option; absent means false.
func parseFlag(options map[string]json.RawMessage, key string) (bool, error) {
	raw, ok := options[key]
	if !ok {
		return false, nil
	}
	var b bool
	if err := json.Unmarshal(raw, &b); err != nil {
		return false, fmt.Errorf("%w: %s is neither true nor false", driver.ErrOption, key)
	}
	return b, nil
}

func parsePool(p poolData, want6 bool) (driver.Subnet, error) {
	pool, err := parsePrefix(p.Pool)
	if err != nil {
		return driver.Subnet{}, fmt.Errorf("pool %q: %w", p.Pool, err)
	}
	if pool.Addr().Is6() != want6 {
		return driver.Subnet{}, fmt.Errorf("pool %s is of the other family", pool)
	}
	if pool.Bits() == 0 {
		// What the address manager "null" gives.
		return driver.Subnet{}, errors.New("a network without addresses is not supported: " +
			"leave --ipam-driver out or use --ipam-driver ournet")
	}
	s := driver.Subnet{Space: p.AddressSpace, Pool: pool.Masked()}
	if p.Gateway != "" {
		if s.Gateway, err = parsePrefix(p.Gateway); err != nil {
			return driver.Subnet{}, fmt.Errorf("gateway %q: %w", p.Gateway, err)
		}
		if !s.Pool.Contains(s.Gateway.Addr()) {
			return driver.Subnet{}, fmt.Errorf("gateway %s is not in %s", s.Gateway.Addr(), s.Pool)
		}
		s.Gateway = netip.PrefixFrom(s.Gateway.Addr(), s.Pool.Bits())
	}
	for _, name := range slices.Sorted(maps.Keys(p.AuxAddresses)) {
		aux, err := parseAux(p.AuxAddresses[name])
		if err != nil {
			return driver.Subnet{}, fmt.Errorf("auxiliary address %s=%q: %w", name, p.AuxAddresses[name], err)
		}
		if s.Aux == nil {
			s.Aux = make(map[string]netip.Addr, len(p.AuxAddresses))
		}
		s.Aux[name] = aux
	}
	return s, nil
}

// parseAux reads an auxiliary address, which the engine sends with the pool's
// prefix length.
func parseAux(s string) (netip.Addr, error) {
	if p, err := parsePrefix(s); err == nil {
		return p.Addr(), nil
	}
	return parseAddr(s)
}
