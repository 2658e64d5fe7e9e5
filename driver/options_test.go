package driver_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
	}
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
	if got != driver.DefaultOptions() {
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
		{"unknown type", driver.OptType, "macvlan", []string{"macvlan", "bridge"}},
		{"long device name", driver.OptBridgeName, "a-very-long-name", []string{"1 to 15"}},
		{"device name with a slash", driver.OptBridgeName, "a/b", []string{"a/b"}},
		{"empty device name", driver.OptBridgeName, "", []string{"1 to 15"}},
		{"no bool", driver.OptICC, "maybe", []string{"true or false"}},
		{"no address", driver.OptHostBindingIPv4, "host1", []string{"IPv4"}},
		{"IPv6 where IPv4 is meant", driver.OptHostBindingIPv4, "::1", []string{"IPv4"}},
		{"MTU of letters", driver.OptMTU, "jumbo", []string{"jumbo", "68 to 65535"}},
		{"MTU too small", driver.OptMTU, "67", []string{"68"}},
		{"negative MTU", driver.OptMTU, "-1", []string{"68"}},
		{"unknown gateway", driver.OptGateway, "none", []string{`"ournet"`, `"docker"`}},
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

func FuzzParseOptions(f *testing.F) {
	for _, key := range driver.OptionKeys() {
		f.Add(key, "1")
		f.Add(key, "")
	}
	f.Add("com.docker.network.bridge.nam", "x")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, key, value string) {
		o, err := driver.ParseOptions(map[string]string{key: value})
		if err != nil {
			if !errors.Is(err, driver.ErrOption) {
				t.Fatalf("ParseOptions(%q=%q) = %v, want ErrOption", key, value, err)
			}
			return
		}
		if len(o.BridgeName) > 15 || o.MTU < 0 || o.MTU > 65535 || o.Type != driver.TypeBridge {
			t.Fatalf("ParseOptions(%q=%q) let %+v through", key, value, o)
		}
	})
}
