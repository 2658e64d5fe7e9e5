package driver_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/ournet/ournet/driver"
)

func TestParseOptions_readsEveryKey(t *testing.T) {
	t.Parallel()
	got, err := driver.ParseOptions(map[string]string{
		driver.OptType:            "bridge",
		driver.OptBridgeName:      "lab0",
		driver.OptMasquerade:      "false",
		driver.OptICC:             "0",
		driver.OptHostBindingIPv4: "172.23.0.1",
		driver.OptMTU:             "1400",
		driver.OptGateway:         "docker",
		driver.OptSpoofCheck:      "false",
		driver.OptDNSTTL:          "0s",
		driver.OptInhibitIPv4:     "true",
		driver.OptInterfacePrefix: "net",
		// Those that the engine acts on.
		driver.OptEnableIPv4: "true", driver.OptEnableIPv6: "false",
		driver.OptAdvertiseMessages: "3", driver.OptAdvertiseInterval: "100",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := driver.Options{
		Type:            driver.TypeBridge,
		BridgeName:      "lab0",
		HostBindingIPv4: netip.MustParseAddr("172.23.0.1"),
		MTU:             1400,
		DockerGateway:   true,
		AllowSpoofing:   true,
		DNSTTL:          new(time.Duration),
		InhibitIPv4:     true,
		InterfacePrefix: "net",
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("ParseOptions (-want +got):\n%s", diff)
	}
	got, err = driver.ParseOptions(map[string]string{driver.OptType: "overlay", driver.OptVNI: "4711", driver.OptMTU: "1300"})
	if err != nil {
		t.Fatal(err)
	}
	want = driver.DefaultOptions()
	want.Type, want.VNI, want.MTU = driver.TypeOverlay, 4711, 1300
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("ParseOptions (-want +got):\n%s", diff)
	}
	got, err = driver.ParseOptions(map[string]string{
		driver.OptGatewayModeIPv4:   "nat-unprotected",
		driver.OptGatewayModeIPv6:   "routed",
		driver.OptTrustedInterfaces: ":eth1::vxlan.1:",
		driver.OptHostIPv4:          "192.0.2.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want = driver.DefaultOptions()
	want.GatewayModeIPv4, want.GatewayModeIPv6 = driver.GatewayUnprotected, driver.GatewayRouted
	want.TrustedInterfaces = []string{"eth1", "vxlan.1"}
	want.HostIPv4 = netip.MustParseAddr("192.0.2.1")
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("ParseOptions (-want +got):\n%s", diff)
	}
}

func TestParseOptions_noneGivesTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := driver.ParseOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, driver.DefaultOptions()) {
		t.Errorf("ParseOptions(nil) = %+v, want %+v", got, driver.DefaultOptions())
	}
}

func TestParseOptions_refusesAndNamesTheRemedy(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, key, value string
		says             []string
	}{
		{"misspelt key", "com.docker.network.bridge.nam", "x", []string{"com.docker.network.bridge.nam", `did you mean "com.docker.network.bridge.name"`}},
		{"short key", "mtu", "1400", []string{`did you mean "com.docker.network.driver.mtu"`}},
		{"key in capitals", "TYPE", "bridge", []string{`did you mean "type"`}},
		{"unknown type", driver.OptType, "macvlan", []string{"macvlan", "bridge", "overlay"}},
		{"VNI without an overlay", driver.OptVNI, "7", []string{"vni=7", "type=overlay"}},
		{"VNI 0", driver.OptVNI, "0", []string{"1 to 16777215"}},
		{"VNI of 25 bits", driver.OptVNI, "16777216", []string{"1 to 16777215"}},
		{"VNI of letters", driver.OptVNI, "blue", []string{"blue", "1 to 16777215"}},
		{"long device name", driver.OptBridgeName, "a-very-long-name", []string{"1 to 15"}},
		{"device name with a slash", driver.OptBridgeName, "a/b", []string{"a/b"}},
		{"device name that is no text", driver.OptBridgeName, "a\xff", []string{"1 to 15"}},
		{"empty device name", driver.OptBridgeName, "", []string{"1 to 15"}},
		{"no bool", driver.OptICC, "maybe", []string{"true or false"}},
		{"no address", driver.OptHostBindingIPv4, "host1", []string{"address of this host"}},
		{"address with a zone", driver.OptHostBindingIPv4, "fe80::1%eth0", []string{"address of this host"}},
		{"IPv6 loopback", driver.OptHostBindingIPv4, "::1", []string{"other than ::1"}},
		{"IPv6 where IPv4 is meant", driver.OptHostIPv4, "2001:db8::1", []string{"IPv4"}},
		{"IPv4 where IPv6 is meant", driver.OptHostIPv6, "192.0.2.1", []string{"IPv6"}},
		{"a source that is no address", driver.OptHostIPv4, "0.0.0.0", []string{"leave this host with"}},
		{"misspelt mode", driver.OptGatewayModeIPv4, "route", []string{`did you mean "routed"`, "nat-unprotected", "isolated"}},
		{"empty mode", driver.OptGatewayModeIPv6, "", []string{"nat"}},
		{"long prefix", driver.OptInterfacePrefix, "thirteen-long", []string{"1 to 12"}},
		{"no device", driver.OptTrustedInterfaces, "eth0,eth1 eth2", []string{"eth0,eth1 eth2", "colons"}},
		{"the engine's own bridge", driver.OptDefaultBridge, "true", []string{"does not apply", "docker0"}},
		{"no bool for the engine", driver.OptEnableIPv6, "yes please", []string{"true or false"}},
		{"MTU of letters", driver.OptMTU, "jumbo", []string{"jumbo", "68 to 65535"}},
		{"MTU too small", driver.OptMTU, "67", []string{"68"}},
		{"negative MTU", driver.OptMTU, "-1", []string{"68"}},
		{"unknown gateway", driver.OptGateway, "none", []string{`"ournet"`, `"docker"`}},
		{"TTL without a unit", driver.OptDNSTTL, "5", []string{"whole seconds", "5s"}},
		{"MTU too large", driver.OptMTU, "65536", []string{"65535"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := driver.ParseOptions(map[string]string{tc.key: tc.value})
			if !errors.Is(err, driver.ErrOption) {
				t.Fatalf("ParseOptions(%s=%s) = %v, want ErrOption", tc.key, tc.value, err)
			}
			for _, word := range tc.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not say %q", err, word)
				}
			}
		})
	}
}

func TestParseOptions_refusesWhatContradictsItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		options map[string]string
		ok      bool
	}{
		{"masquerade what is routed", map[string]string{driver.OptMasquerade: "true", driver.OptGatewayModeIPv4: "routed"}, false},
		{"masquerade the other family", map[string]string{driver.OptMasquerade: "true", driver.OptGatewayModeIPv6: "routed"}, true},
		{"masquerade one of both", map[string]string{
			driver.OptMasquerade: "true", driver.OptGatewayModeIPv4: "routed", driver.OptGatewayModeIPv6: "nat",
		}, true},
		{"routed and so not masqueraded", map[string]string{driver.OptMasquerade: "false", driver.OptGatewayModeIPv4: "routed"}, true},
		{"source of what is routed", map[string]string{driver.OptHostIPv4: "192.0.2.1", driver.OptGatewayModeIPv4: "routed"}, false},
		{"source of what is isolated", map[string]string{driver.OptHostIPv6: "2001:db8::1", driver.OptGatewayModeIPv6: "isolated"}, false},
		{"source without masquerading", map[string]string{driver.OptHostIPv4: "192.0.2.1", driver.OptMasquerade: "false"}, false},
		{"IPv6 source without masquerading", map[string]string{driver.OptHostIPv6: "2001:db8::1", driver.OptMasquerade: "false"}, false},
		{"source of the other family", map[string]string{driver.OptHostIPv6: "2001:db8::1", driver.OptGatewayModeIPv4: "routed"}, true},
		{"bind what is routed", map[string]string{driver.OptHostBindingIPv4: "127.0.0.1", driver.OptGatewayModeIPv4: "routed"}, false},
		{"bind IPv6 that is routed", map[string]string{driver.OptHostBindingIPv4: "2001:db8::1", driver.OptGatewayModeIPv6: "routed"}, false},
		{"bind nothing in particular", map[string]string{driver.OptHostBindingIPv4: "0.0.0.0", driver.OptGatewayModeIPv4: "routed"}, true},
		{"the engine's gateway, routed", map[string]string{driver.OptGateway: "docker", driver.OptGatewayModeIPv4: "routed"}, false},
		{"the engine's gateway with a source", map[string]string{driver.OptGateway: "docker", driver.OptHostIPv4: "192.0.2.1"}, false},
		{"an overlay with a bridge's name", map[string]string{driver.OptType: "overlay", driver.OptBridgeName: "lab0"}, false},
		{"an overlay that masquerades", map[string]string{driver.OptType: "overlay", driver.OptMasquerade: "true"}, false},
		{"an overlay without talk", map[string]string{driver.OptType: "overlay", driver.OptICC: "false"}, false},
		{"an overlay that is routed", map[string]string{driver.OptType: "overlay", driver.OptGatewayModeIPv6: "routed"}, false},
		{"an overlay that binds ports", map[string]string{driver.OptType: "overlay", driver.OptHostBindingIPv4: "127.0.0.1"}, false},
		{"an overlay with the engine's gateway", map[string]string{driver.OptType: "overlay", driver.OptGateway: "docker"}, false},
		{"an overlay without a check of sources", map[string]string{driver.OptType: "overlay", driver.OptSpoofCheck: "false"}, true},
		{"the engine's gateway and who it trusts", map[string]string{driver.OptGateway: "docker", driver.OptTrustedInterfaces: "eth1"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := driver.ParseOptions(tc.options)
			if tc.ok {
				if err != nil {
					t.Errorf("ParseOptions = %v, want no error", err)
				}
				return
			}
			if !errors.Is(err, driver.ErrOption) {
				t.Fatalf("ParseOptions = %v, want ErrOption", err)
			}
			for key, value := range tc.options {
				if want := key + "=" + value; !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// render is the inverse of ParseOptions: the keys that give the options, each left
// out where it would say what is so without it.
func render(o driver.Options) map[string]string {
	text := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	gateway, mtu, vni, dnsTTL := "", "", "", ""
	if o.DNSTTL != nil {
		dnsTTL = o.DNSTTL.String()
	}
	if o.DockerGateway {
		gateway = "docker"
	}
	if o.MTU != 0 {
		mtu = strconv.Itoa(o.MTU)
	}
	if o.VNI != 0 {
		vni = strconv.Itoa(int(o.VNI))
	}
	out := map[string]string{
		driver.OptType: string(o.Type), driver.OptBridgeName: o.BridgeName, driver.OptInterfacePrefix: o.InterfacePrefix,
		driver.OptGatewayModeIPv4: string(o.GatewayModeIPv4), driver.OptGatewayModeIPv6: string(o.GatewayModeIPv6),
		driver.OptHostIPv4: text(o.HostIPv4), driver.OptHostIPv6: text(o.HostIPv6), driver.OptHostBindingIPv4: text(o.HostBindingIPv4),
		driver.OptTrustedInterfaces: strings.Join(o.TrustedInterfaces, ":"), driver.OptGateway: gateway, driver.OptMTU: mtu, driver.OptVNI: vni, driver.OptDNSTTL: dnsTTL,
	}
	for key, different := range map[string]bool{driver.OptMasquerade: !o.Masquerade, driver.OptICC: !o.ICC, driver.OptInhibitIPv4: o.InhibitIPv4, driver.OptSpoofCheck: o.AllowSpoofing} {
		if different {
			out[key] = strconv.FormatBool(key == driver.OptInhibitIPv4)
		}
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// values are texts that users may give, right and wrong, for any key.
func values() []string {
	return []string{
		"", "true", "false", "1", "maybe", "bridge", "overlay", "lab0", "a/b", "net", "eth1:eth2", "::", "0.0.0.0", "127.0.0.1", "192.0.2.1",
		"2001:db8::1", "::ffff:192.0.2.1", "nat", "nat-unprotected", "routed", "isolated", "docker", "ournet", "1400", "0", "-1", "70000", "2m0s",
	}
}

// What was parsed can be said again, and means the same then; so it does when it was
// written to a record.
func TestParseOptions_isUndoneByRendering(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		raw := rapid.MapOfN(rapid.SampledFrom(driver.OptionKeys()), rapid.SampledFrom(values()), 0, 5).Draw(rt, "options")
		o, err := driver.ParseOptions(raw)
		if err != nil {
			if !errors.Is(err, driver.ErrOption) {
				rt.Fatalf("ParseOptions(%v) = %v, want ErrOption", raw, err)
			}
			return
		}
		checkRendering(rt, o)
	})
}

func checkRendering(t rapid.TB, o driver.Options) {
	t.Helper()
	again, err := driver.ParseOptions(render(o))
	if err != nil || !reflect.DeepEqual(o, again) {
		t.Fatalf("%+v rendered as %v is parsed as %+v, %v", o, render(o), again, err)
	}
	record, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var read driver.Options
	if err := json.Unmarshal(record, &read); err != nil || !reflect.DeepEqual(o, read) {
		t.Fatalf("%+v recorded as %s is read as %+v, %v", o, record, read, err)
	}
}

// What no option needs is not in a record, so that the version before, which knows
// fewer, can read it.
func TestOptions_defaultsLeaveTheRecordAsItWas(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(driver.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Type":"bridge","Masquerade":true,"ICC":true,"HostBindingIPv4":""}`; string(got) != want {
		t.Errorf("record of the defaults is %s, want %s", got, want)
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, key := range driver.OptionKeys() {
		for _, value := range values() {
			f.Add(key, value, driver.OptGatewayModeIPv4, "routed")
		}
	}
	f.Add("com.docker.network.bridge.nam", "x", "", "")
	f.Fuzz(func(t *testing.T, key, value, key2, value2 string) {
		o, err := driver.ParseOptions(map[string]string{key: value, key2: value2})
		if err != nil {
			if !errors.Is(err, driver.ErrOption) {
				t.Fatalf("ParseOptions(%q=%q, %q=%q) = %v, want ErrOption", key, value, key2, value2, err)
			}
			return
		}
		if len(o.BridgeName) > 15 || len(o.InterfacePrefix) > 12 || o.MTU < 0 || o.MTU > 65535 || o.VNI > 1<<24-1 || o.Type != driver.TypeBridge && o.Type != driver.TypeOverlay {
			t.Fatalf("ParseOptions(%q=%q, %q=%q) let %+v through", key, value, key2, value2, o)
		}
		checkRendering(t, o)
	})
}
