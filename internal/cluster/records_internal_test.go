package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// The stored form is for ever: a change of it is a new version.
func TestRecords_golden(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := NetworkID(strings.Repeat("1a", 32))
	host := Host{ID: "00112233445566ff", Name: "h", VTEPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 4789, Version: "1.0", Engine: "29.0"}
	network := Network{
		ID: id, Name: "lab", Labels: map[string]string{"l": "1"}, Options: map[string]string{"o": "2"}, IPAMOptions: map[string]string{"i": "3"},
		Subnets: []Subnet{{
			Pool: netip.MustParsePrefix("10.1.0.0/16"), Range: netip.MustParsePrefix("10.1.2.0/24"), Gateway: netip.MustParseAddr("10.1.0.1"),
			Aux: map[string]netip.Addr{"a": netip.MustParseAddr("10.1.0.2")},
		}},
		VNI: 8388608, MTU: 1450, Internal: true, Attachable: true, IPv4: true, IPv6: true, Creator: host.ID, Created: at, Generation: 2, Complete: true,
	}
	for _, tc := range []struct {
		name, want string
		encode     func() ([]byte, error)
		decode     func(b []byte) error
	}{
		golden("host", host, `{"v":1,"r":{"id":"00112233445566ff","name":"h","vteps":["192.0.2.1"],"port":4789,"version":"1.0","engine":"29.0"}}`),
		golden("network", network, `{"v":1,"r":{"id":"`+string(id)+`","name":"lab","labels":{"l":"1"},"options":{"o":"2"},"ipamOptions":{"i":"3"},`+
			`"subnets":[{"pool":"10.1.0.0/16","range":"10.1.2.0/24","gateway":"10.1.0.1","aux":{"a":"10.1.0.2"}}],"vni":8388608,"mtu":1450,`+
			`"internal":true,"attachable":true,"ipv4":true,"ipv6":true,"creator":"00112233445566ff","created":"2026-01-02T03:04:05Z","generation":2,"complete":true}}`),
		golden("endpoint", Endpoint{Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.9")}, MAC: "02:42:0a:01:00:09", Name: "c", Aliases: []string{"a"}},
			`{"v":1,"r":{"addrs":["10.1.0.9"],"mac":"02:42:0a:01:00:09","name":"c","aliases":["a"]}}`),
		golden("member", member{Generation: 2}, `{"v":1,"r":{"generation":2}}`),
		golden("removal", removal{Generation: 2, At: at}, `{"v":1,"r":{"generation":2,"at":"2026-01-02T03:04:05Z"}}`),
		golden("suspicion", suspicion{Since: at, Removing: true}, `{"v":1,"r":{"since":"2026-01-02T03:04:05Z","removing":true}}`),
		golden("collected", collected{Generation: 2, At: at}, `{"v":1,"r":{"generation":2,"at":"2026-01-02T03:04:05Z"}}`),
		golden("changes", ring{Epoch: "abc", Count: 7, Recent: []string{"h", "1a1a1a1a", "1a1a1a1a/22222222"}}, `{"v":1,"r":{"e":"abc","n":7,"c":["h","1a1a1a1a","1a1a1a1a/22222222"]}}`),
		golden("identity", identityRecord{ID: host.ID}, `{"v":1,"r":{"id":"00112233445566ff"}}`),
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.encode()
			if err != nil || string(got) != tc.want {
				t.Errorf("encode = %s, %v, want %s", got, err, tc.want)
			}
			if err := tc.decode([]byte(tc.want)); err != nil {
				t.Errorf("decode: %v", err)
			}
			if err := tc.decode([]byte(strings.Replace(tc.want, `{"v":1,"r":{`, `{"v":1,"r":{"other":1,`, 1))); err == nil || errors.Is(err, errFuture) {
				t.Errorf("decode with an unknown field: %v", err)
			}
			if err := tc.decode([]byte(`{"v":2,"else":1}`)); !errors.Is(err, errFuture) {
				t.Errorf("decode of a later version: %v", err)
			}
		})
	}
}

func golden[T interface{ check() error }](name string, record T, want string) struct {
	name, want string
	encode     func() ([]byte, error)
	decode     func(b []byte) error
} {
	return struct {
		name, want string
		encode     func() ([]byte, error)
		decode     func(b []byte) error
	}{name, want, func() ([]byte, error) { return encode(record) }, func(b []byte) error { _, err := decode[T](b); return err }}
}

// What can be read is written so that it reads the same.
func FuzzDecodeRecord(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"r":{"addrs":["10.1.0.9"],"mac":"02:42:0a:01:00:09"}}`, `{"v":1,"r":{"e":"abc","n":7,"c":["h"]}}`,
		`{"v":1,"r":{"id":"00112233445566ff","name":"h","vteps":["192.0.2.1"],"port":4789}}`, `{"v":2}`,
		`{"v":1,"r":{"id":"` + strings.Repeat("1a", 32) + `","subnets":[{"pool":"10.1.0.0/16"}],"vni":1,"creator":"","created":"2026-01-02T03:04:05Z","generation":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		again[Host](t, value)
		again[Network](t, value)
		again[Endpoint](t, value)
		again[ring](t, value)
		again[suspicion](t, value)
		again[removal](t, value)
	})
}

func again[T interface{ check() error }](t *testing.T, value []byte) {
	t.Helper()
	record, err := decode[T](value)
	if err != nil {
		return
	}
	first, err := encode(record)
	if err != nil {
		t.Fatalf("encode what was read of %s: %v", value, err)
	}
	record, err = decode[T](first)
	if err != nil {
		t.Fatalf("decode %s: %v", first, err)
	}
	second, err := encode(record)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%s becomes %s, %v", first, second, err)
	}
}

func TestRing_tellsWhatWasMissed(t *testing.T) {
	t.Parallel()
	r := newEpoch()
	old := r
	for i := range 3 * fewChanges {
		r = r.add(strings.Repeat(string(rune('a'+i)), 2))
	}
	if _, ok := r.since(old); ok {
		t.Error("whoever missed more than is named is told that it is all")
	}
	last := r
	r = r.add("x", "y")
	if got, ok := r.since(last); !ok || strings.Join(got, " ") != "x y" {
		t.Errorf("since = %v, %t, want x y", got, ok)
	}
	if _, ok := last.since(r); ok {
		t.Error("one that went backwards tells what was missed")
	}
	if _, ok := newEpoch().since(r); ok {
		t.Error("another epoch tells what was missed")
	}
	last = r
	r = r.add(slices.Repeat([]string{"b"}, fewChanges+1)...)
	if got, ok := r.since(last); ok {
		t.Errorf("whoever missed more than can be named is told %v", got)
	}
	last = r
	r = r.add("z")
	if got, ok := r.since(last); !ok || strings.Join(got, " ") != "z" {
		t.Errorf("after many at once since = %v, %t, want z", got, ok)
	}
}

// All hosts read the keys of all hosts at each change, so however much a host changes,
// its key stays small.
func TestRing_isBounded(t *testing.T) {
	t.Parallel()
	const most = 192
	change := endpointChange(NetworkID(strings.Repeat("a", idDigits)), EndpointID(strings.Repeat("b", idDigits)))
	for _, atOnce := range []int{1, 2, fewChanges, sayAtOnce} {
		r := newEpoch()
		for range 1000 {
			r = r.add(slices.Repeat([]string{change}, atOnce)...)
			value, err := encode(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(value) > most {
				t.Fatalf("%d at once: after %d changes the key has %d bytes, want at most %d: %s", atOnce, r.Count, len(value), most, value)
			}
		}
	}
}
