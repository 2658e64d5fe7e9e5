package driver

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Type is a kind of network, the value of the option "type".
type Type string

// The kinds of network.
const (
	// TypeBridge is a network of one host.
	TypeBridge Type = "bridge"
)

// The option keys that a user may give with `docker network create -o`. Those
// that begin with com.docker.network are the engine's own, documented for its
// built-in bridge driver.
const (
	OptType            = "type"
	OptBridgeName      = "com.docker.network.bridge.name"
	OptMasquerade      = "com.docker.network.bridge.enable_ip_masquerade"
	OptICC             = "com.docker.network.bridge.enable_icc"
	OptHostBindingIPv4 = "com.docker.network.bridge.host_binding_ipv4"
	OptMTU             = "com.docker.network.driver.mtu"
	OptGateway         = "ournet.gateway"
	OptSpoofCheck      = "ournet.spoof_check"
)

// The least MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200 section 5), and the most
// that a Linux bridge takes.
const (
	minMTU     = 68
	minMTUIPv6 = 1280
	maxMTU     = 65535
)

// Options are the parsed options of a network. The zero value is not useful; see
// [DefaultOptions].
type Options struct {
	Type Type
	// BridgeName is the bridge's device name; "" means one made from the id.
	BridgeName string `json:",omitempty"`
	// Masquerade gives outgoing packets the host's address.
	Masquerade bool
	// ICC lets the containers of the network talk to each other.
	ICC bool
	// HostBindingIPv4 is where published ports without an address bind; not
	// valid means all addresses.
	HostBindingIPv4 netip.Addr
	// MTU of the container's interface in bytes; 0 means the kernel's default.
	MTU int `json:",omitempty"`
	// DockerGateway leaves the way out and published ports to the engine's
	// docker_gwbridge; see [Network.OwnGateway].
	DockerGateway bool `json:",omitempty"`
	// AllowSpoofing lets the containers send with addresses that are not theirs.
	AllowSpoofing bool `json:",omitempty"`
}

// DefaultOptions returns the options of a network made with no `-o`.
func DefaultOptions() Options {
	return Options{Type: TypeBridge, Masquerade: true, ICC: true}
}

// optionSetters says what each key does to [Options]. It is the one list of keys.
func optionSetters() map[string]func(o *Options, value string) error {
	return map[string]func(o *Options, value string) error{
		OptType:            setType,
		OptBridgeName:      setBridgeName,
		OptMasquerade:      func(o *Options, v string) error { return setBool(&o.Masquerade, v) },
		OptICC:             func(o *Options, v string) error { return setBool(&o.ICC, v) },
		OptHostBindingIPv4: setHostBinding,
		OptMTU:             setMTU,
		OptGateway:         setGateway,
		OptSpoofCheck:      setSpoofCheck,
	}
}

// OptionKeys returns every key that [ParseOptions] knows, sorted.
func OptionKeys() []string { return slices.Sorted(maps.Keys(optionSetters())) }

// ParseOptions reads the options of `docker network create -o`. An unknown key
// or a value that cannot be used is an error that wraps [ErrOption] and says
// what to write instead.
func ParseOptions(raw map[string]string) (Options, error) {
	o := DefaultOptions()
	setters := optionSetters()
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		set, ok := setters[key]
		if !ok {
			return Options{}, fmt.Errorf("%w: unknown key %q; did you mean %q? Known keys: %s",
				ErrOption, key, nearest(key, OptionKeys()), strings.Join(OptionKeys(), ", "))
		}
		if err := set(&o, raw[key]); err != nil {
			return Options{}, fmt.Errorf("%w %s=%q: %w", ErrOption, key, raw[key], err)
		}
	}
	return o, nil
}

func setType(o *Options, value string) error {
	if Type(value) != TypeBridge {
		return fmt.Errorf("the only type of network is %q", TypeBridge)
	}
	o.Type = Type(value)
	return nil
}

func setBridgeName(o *Options, value string) error {
	// The kernel's limit is IFNAMSIZ, 16 bytes with the final zero; it refuses
	// "/" and white space (dev_valid_name in net/core/dev.c).
	if value == "" || len(value) > 15 || value == "." || value == ".." || strings.ContainsAny(value, "/: \t\n\v\f\r%") {
		return fmt.Errorf("a device name has 1 to 15 characters, without blanks, %q, %q and %q", "/", ":", "%")
	}
	o.BridgeName = value
	return nil
}

func setHostBinding(o *Options, value string) error {
	addr, err := netip.ParseAddr(value)
	if err != nil || !addr.Is4() {
		return errors.New("want an IPv4 address of this host, or 0.0.0.0 for all")
	}
	o.HostBindingIPv4 = addr
	return nil
}

func setMTU(o *Options, value string) error {
	mtu, err := strconv.Atoi(value)
	if err != nil || mtu < 0 || mtu > maxMTU || (mtu > 0 && mtu < minMTU) {
		return fmt.Errorf("want a number of bytes from %d to %d, or 0 for the default", minMTU, maxMTU)
	}
	o.MTU = mtu
	return nil
}

func setSpoofCheck(o *Options, value string) error {
	check := true
	err := setBool(&check, value)
	o.AllowSpoofing = !check
	return err
}

func setBool(to *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("want true or false")
	}
	*to = b
	return nil
}

// nearest returns the candidate with the least edit distance to key. The last
// part of a dotted key weighs like the whole, so that "mtu" finds the long key.
func nearest(key string, candidates []string) string {
	lower := strings.ToLower(key)
	best, bestDistance := "", -1
	for _, c := range candidates {
		last := c[strings.LastIndex(c, ".")+1:]
		d := min(distance(lower, c), distance(lower, last))
		if bestDistance < 0 || d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance between a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
