package driver

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Type is a kind of network, the value of the option "type".
type Type string

// The kinds of network.
const (
	// TypeBridge is a network of one host.
	TypeBridge Type = "bridge"
	// TypeOverlay is a network of all hosts of a cluster.
	TypeOverlay Type = "overlay"
)

// The option keys that a user may give with `docker network create -o`. Those
// that begin with com.docker.network are the engine's own, documented for its
// built-in bridge driver (moby daemon/libnetwork/drivers/bridge/labels.go and
// daemon/libnetwork/netlabel/labels.go).
const (
	OptType              = "type"
	OptBridgeName        = "com.docker.network.bridge.name"
	OptMasquerade        = "com.docker.network.bridge.enable_ip_masquerade"
	OptICC               = "com.docker.network.bridge.enable_icc"
	OptGatewayModeIPv4   = "com.docker.network.bridge.gateway_mode_ipv4"
	OptGatewayModeIPv6   = "com.docker.network.bridge.gateway_mode_ipv6"
	OptInhibitIPv4       = "com.docker.network.bridge.inhibit_ipv4"
	OptHostBindingIPv4   = "com.docker.network.bridge.host_binding_ipv4"
	OptTrustedInterfaces = "com.docker.network.bridge.trusted_host_interfaces"
	OptHostIPv4          = "com.docker.network.host_ipv4"
	OptHostIPv6          = "com.docker.network.host_ipv6"
	OptInterfacePrefix   = "com.docker.network.container_iface_prefix"
	OptMTU               = "com.docker.network.driver.mtu"
	OptVNI               = "vni"
	OptGateway           = "ournet.gateway"
	OptDNSTTL            = "ournet.dns_ttl"
	OptSpoofCheck        = "ournet.spoof_check"
)

// Keys that the engine itself acts on, whatever the driver.
const (
	OptEnableIPv4        = "com.docker.network.enable_ipv4"
	OptEnableIPv6        = "com.docker.network.enable_ipv6"
	OptAdvertiseMessages = "com.docker.network.advertise_addr_nmsgs"
	OptAdvertiseInterval = "com.docker.network.advertise_addr_ms"
)

// OptDefaultBridge marks docker0, which is the engine's own.
const OptDefaultBridge = "com.docker.network.bridge.default_bridge"

// Options are the parsed options of a network. The zero value is not useful; see
// [DefaultOptions]. Fields that came later are left out of records where they have
// their default, so that the version before can still read those.
type Options struct {
	Type Type
	// BridgeName is the bridge's device name; "" means one made from the id.
	BridgeName string `json:",omitempty"`
	// Masquerade gives outgoing packets the host's address, where the gateway
	// translates.
	Masquerade bool
	// ICC lets the containers of the network talk to each other.
	ICC bool
	// HostBindingIPv4 is where published ports without an address bind; not
	// valid means all addresses. An IPv6 address means IPv6 alone.
	HostBindingIPv4 netip.Addr
	// MTU of the container's interface in bytes; 0 means the kernel's default.
	MTU int `json:",omitempty"`
	// DockerGateway leaves the way out and published ports to the engine's
	// docker_gwbridge; see [Network.OwnGateway].
	DockerGateway bool `json:",omitempty"`
	// AllowSpoofing lets the containers send with addresses that are not theirs.
	AllowSpoofing bool `json:",omitempty"`
	// GatewayModeIPv4 and GatewayModeIPv6 say what the gateway does; "" means
	// [GatewayNAT].
	GatewayModeIPv4 GatewayMode `json:",omitempty"`
	GatewayModeIPv6 GatewayMode `json:",omitempty"`
	// InhibitIPv4 leaves the gateway's IPv4 address for the user to put somewhere.
	InhibitIPv4 bool `json:",omitempty"`
	// TrustedInterfaces are devices of the host; who sends by them to a container's
	// own address reaches its published ports.
	TrustedInterfaces []string `json:",omitempty"`
	// HostIPv4 and HostIPv6 are the source of masqueraded packets; not valid means
	// the address of the device that they leave by.
	HostIPv4 netip.Addr `json:",omitzero"`
	HostIPv6 netip.Addr `json:",omitzero"`
	// InterfacePrefix is the start of the interface's name in a container; "" means
	// the driver's usual one.
	InterfacePrefix string `json:",omitempty"`
	// DNSTTL is how long answers about names of this network may be kept; nil means
	// the plugin's setting, since zero means not at all.
	DNSTTL *time.Duration `json:",omitempty"`
	// VNI is the VXLAN network identifier that the user wants an overlay network to
	// have; 0 means any. What it got is in [Overlay].
	VNI uint32 `json:",omitempty"`
}

// DefaultOptions returns the options of a network made with no `-o`.
func DefaultOptions() Options {
	return Options{Type: TypeBridge, Masquerade: true, ICC: true}
}

// GatewayMode returns the mode of the gateway for a family of addresses.
func (o Options) GatewayMode(is6 bool) GatewayMode {
	mode := o.GatewayModeIPv4
	if is6 {
		mode = o.GatewayModeIPv6
	}
	if mode == "" {
		return GatewayNAT
	}
	return mode
}

// optionSetters says what each key does to [Options]. It is the one list of keys.
func optionSetters() map[string]func(o *Options, value string) error {
	return map[string]func(o *Options, value string) error{
		OptType:              setType,
		OptBridgeName:        setBridgeName,
		OptMasquerade:        func(o *Options, v string) error { return setBool(&o.Masquerade, v) },
		OptICC:               func(o *Options, v string) error { return setBool(&o.ICC, v) },
		OptGatewayModeIPv4:   func(o *Options, v string) error { return setGatewayMode(&o.GatewayModeIPv4, v) },
		OptGatewayModeIPv6:   func(o *Options, v string) error { return setGatewayMode(&o.GatewayModeIPv6, v) },
		OptInhibitIPv4:       func(o *Options, v string) error { return setBool(&o.InhibitIPv4, v) },
		OptHostBindingIPv4:   setHostBinding,
		OptTrustedInterfaces: setTrusted,
		OptHostIPv4:          func(o *Options, v string) error { return setHostAddr(&o.HostIPv4, v, false) },
		OptHostIPv6:          func(o *Options, v string) error { return setHostAddr(&o.HostIPv6, v, true) },
		OptInterfacePrefix:   setInterfacePrefix,
		OptMTU:               setMTU,
		OptVNI:               setVNI,
		OptGateway:           setGateway,
		OptDNSTTL:            setDNSTTL,
		OptSpoofCheck:        setSpoofCheck,
		OptEnableIPv4:        func(_ *Options, v string) error { return setBool(new(bool), v) },
		OptEnableIPv6:        func(_ *Options, v string) error { return setBool(new(bool), v) },
		OptAdvertiseMessages: leaveToEngine,
		OptAdvertiseInterval: leaveToEngine,
	}
}

// refusedKeys are keys of the built-in bridge that cannot apply to our networks, and
// why.
func refusedKeys() map[string]string {
	return map[string]string{
		OptDefaultBridge: "only the engine's own driver makes docker0, the default network; leave it out",
	}
}

// OptionKeys returns every key that [ParseOptions] knows, sorted.
func OptionKeys() []string { return slices.Sorted(maps.Keys(optionSetters())) }

// ParseOptions reads the options of `docker network create -o`. An unknown key,
// a value that cannot be used, or one that contradicts another is an error that
// wraps [ErrOption] and says what to write instead.
func ParseOptions(raw map[string]string) (Options, error) {
	o := DefaultOptions()
	setters := optionSetters()
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if why, ok := refusedKeys()[key]; ok {
			return Options{}, fmt.Errorf("%w: key %q does not apply: %s", ErrOption, key, why)
		}
		set, ok := setters[key]
		if !ok {
			return Options{}, fmt.Errorf("%w: unknown key %q; did you mean %q? Known keys: %s",
				ErrOption, key, nearest(key, OptionKeys()), strings.Join(OptionKeys(), ", "))
		}
		if err := set(&o, raw[key]); err != nil {
			return Options{}, fmt.Errorf("%w %s=%q: %w", ErrOption, key, raw[key], err)
		}
	}
	if err := o.contradiction(raw); err != nil {
		return Options{}, fmt.Errorf("%w: %w", ErrOption, err)
	}
	return o, nil
}

// contradiction says which two options cannot both be meant. What merely has no
// effect, as an option for IPv6 on a network without, is none: options may come from
// the engine's default-network-opts, which are for all networks.
func (o Options) contradiction(raw map[string]string) error {
	routed4, routed6 := !o.GatewayMode(false).Translates(), !o.GatewayMode(true).Translates()
	_, both := raw[OptGatewayModeIPv6]
	_, asked := raw[OptMasquerade]
	binding := o.HostBindingIPv4
	for _, c := range []struct {
		wrong   bool
		a, b    string
		because string
	}{
		{asked && o.Masquerade && routed4 && (!both || routed6), OptMasquerade, OptGatewayModeIPv4, "nothing is masqueraded then"},
		{o.HostIPv4.IsValid() && routed4, OptHostIPv4, OptGatewayModeIPv4, "nothing is masqueraded then"},
		{o.HostIPv6.IsValid() && routed6, OptHostIPv6, OptGatewayModeIPv6, "nothing is masqueraded then"},
		{o.HostIPv4.IsValid() && !o.Masquerade, OptHostIPv4, OptMasquerade, "nothing is masqueraded then"},
		{o.HostIPv6.IsValid() && !o.Masquerade, OptHostIPv6, OptMasquerade, "nothing is masqueraded then"},
		{binding.Is4() && !binding.IsUnspecified() && routed4, OptHostBindingIPv4, OptGatewayModeIPv4, "no port of the host is bound then"},
		{o.DockerGateway && o.GatewayModeIPv4 != "", OptGatewayModeIPv4, OptGateway, "the engine is the gateway then"},
		{o.DockerGateway && o.GatewayModeIPv6 != "", OptGatewayModeIPv6, OptGateway, "the engine is the gateway then"},
		{o.DockerGateway && o.HostIPv4.IsValid(), OptHostIPv4, OptGateway, "the engine is the gateway then"},
		{o.DockerGateway && o.HostIPv6.IsValid(), OptHostIPv6, OptGateway, "the engine is the gateway then"},
		{o.DockerGateway && o.TrustedInterfaces != nil, OptTrustedInterfaces, OptGateway, "the engine is the gateway then"},
		{binding.Is6() && !binding.IsUnspecified() && routed6, OptHostBindingIPv4, OptGatewayModeIPv6, "no port of the host is bound then"},
	} {
		if c.wrong {
			return fmt.Errorf("%s=%s contradicts %s=%s: %s; leave one of them out", c.a, raw[c.a], c.b, raw[c.b], c.because)
		}
	}
	return o.foreign(raw)
}

// foreign says which option is of another type of network than the one that is asked
// for. Those are refused even where they would only say what is so anyway: who gives
// one expects the network to have a gateway of its own, or a tunnel.
func (o Options) foreign(raw map[string]string) error {
	if o.Type != TypeOverlay {
		if value, ok := raw[OptVNI]; ok {
			return fmt.Errorf("%s=%s is for networks of %s=%s; leave one of them out, or add the other", OptVNI, value, OptType, TypeOverlay)
		}
		return nil
	}
	for _, key := range []string{
		OptBridgeName, OptMasquerade, OptICC, OptGatewayModeIPv4, OptGatewayModeIPv6, OptInhibitIPv4,
		OptHostBindingIPv4, OptTrustedInterfaces, OptHostIPv4, OptHostIPv6, OptGateway,
	} {
		if value, ok := raw[key]; ok {
			return fmt.Errorf("%s=%s contradicts %s=%s: the way out of an overlay network, and in, is the engine's docker_gwbridge; leave one of them out",
				key, value, OptType, TypeOverlay)
		}
	}
	return nil
}
