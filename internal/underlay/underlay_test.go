package underlay

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ournet/ournet/internal/netnstest"
)

// host makes a host with two devices, of which the second is the way to the world.
func host(t *testing.T) *netnstest.Namespace {
	t.Helper()
	h, other := netnstest.New(t), netnstest.New(t)
	netnstest.Pair(t, h, netnstest.Port{Name: "storage", Addrs: []string{"10.1.0.1/24"}},
		other, netnstest.Port{Name: "far", Addrs: []string{"10.1.0.9/24"}})
	netnstest.Pair(t, h, netnstest.Port{Name: "lan", Addrs: []string{"10.2.0.1/24", "10.2.0.77/24", "fd02::1/64"}},
		other, netnstest.Port{Name: "near", Addrs: []string{"10.2.0.9/24", "fd02::9/64"}})
	return h
}

func find(t *testing.T, h *netnstest.Namespace, advertise string, stores ...string) (found []netip.Addr, err error) {
	t.Helper()
	nerr := h.Do(func() error {
		found, err = Find(context.Background(), advertise, stores)
		return nil
	})
	if nerr != nil {
		t.Fatal(nerr)
	}
	return found, err
}

func TestFind(t *testing.T) {
	t.Parallel()
	h := host(t)
	h.Route(t, "default", "10.2.0.9")
	for _, tc := range []struct {
		name, advertise string
		stores          []string
		want            string
	}{
		{"towards the store", "", []string{"10.1.0.200:8500"}, "10.1.0.1"},
		{"towards the store, IPv6", "", []string{"[fd02::200]:8500"}, "fd02::1"},
		{"towards a store on the host itself", "", []string{"127.0.0.1:8500"}, "10.2.0.1"},
		{"towards the second store", "", []string{"127.0.0.1:8500", "10.1.0.200:8500"}, "10.1.0.1"},
		{"towards a store beyond the router", "", []string{"198.51.100.1:8500"}, "10.2.0.1"},
		{"an address", "10.2.0.77", nil, "10.2.0.77"},
		{"addresses of both families", "fd02::1, 10.1.0.1", nil, "10.1.0.1 fd02::1"},
		{"a device with both families", "lan", nil, "10.2.0.1 fd02::1"},
		{"a subnet", "10.1.0.0/16", nil, "10.1.0.1"},
		{"a subnet as an address writes it", "10.1.0.9/24", nil, "10.1.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := find(t, h, tc.advertise, tc.stores...)
			words := make([]string, 0, len(got))
			for _, a := range got {
				words = append(words, a.String())
			}
			if s := strings.Join(words, " "); err != nil || s != tc.want {
				t.Errorf("Find(%q, %v) = %s, %v, want %s", tc.advertise, tc.stores, s, err, tc.want)
			}
		})
	}
}

func TestFind_errorSaysWhatToSet(t *testing.T) {
	t.Parallel()
	h := host(t)
	for _, advertise := range []string{"10.9.9.9", "wlan0", "192.168.0.0/16", "10.2.0.1,10.1.0.1", "127.0.0.1", "lo"} {
		_, err := find(t, h, advertise)
		if err == nil || !strings.Contains(err.Error(), "CLUSTER_ADVERTISE") || !strings.Contains(err.Error(), "10.1.0.1 (storage)") ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("Find(%q) = %v, want one line that has the setting and the host's addresses", advertise, err)
		}
	}
}

// A host whose network is not up yet.
func TestFind_hostWithoutAddress(t *testing.T) {
	t.Parallel()
	h := netnstest.New(t)
	got, err := find(t, h, "", "10.1.0.200:8500")
	if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "set CLUSTER_ADVERTISE") {
		t.Errorf("Find = %v, %v, want ErrNone and the setting", got, err)
	}
}

func TestPick_eachFamilyOnce(t *testing.T) {
	t.Parallel()
	own := []address{
		{"eth0", netip.MustParsePrefix("10.0.0.1/24")},
		{"eth0", netip.MustParsePrefix("10.0.0.2/24")},
	}
	got, err := pick("eth0", own)
	if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) {
		t.Errorf("pick = %v, %v, want the first address of the device", got, err)
	}
}

func TestHas(t *testing.T) {
	t.Parallel()
	h := host(t)
	for _, tc := range []struct {
		addrs string
		want  bool
	}{
		{"10.1.0.1", true},
		{"10.2.0.77 fd02::1", true},
		{"10.2.0.1 fd02::2", false},
		{"10.2.0.9", false},
	} {
		var all []netip.Addr
		for word := range strings.FieldsSeq(tc.addrs) {
			all = append(all, netip.MustParseAddr(word))
		}
		err := h.Do(func() error {
			got, err := Has(all)
			if got != tc.want {
				t.Errorf("Has(%s) = %t, want %t", tc.addrs, got, tc.want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
