package ipam

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// The stored form is for ever: a change of it is a new version.
func TestRecords_golden(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)
	for _, tc := range []struct {
		record any
		want   string
	}{
		{
			poolRecord{Version: 1, Subnet: netip.MustParsePrefix("10.0.0.0/8"), Range: netip.MustParsePrefix("10.1.0.0/16"), Options: map[string]string{"b": "2", "a": "1"}, Created: at},
			`{"v":1,"subnet":"10.0.0.0/8","range":"10.1.0.0/16","options":{"a":"1","b":"2"},"created":"2026-11-23T12:00:00.000000005Z"}`,
		},
		{
			poolRecord{Version: 1, Subnet: netip.MustParsePrefix("fd00::/64"), Auto: true, Created: at},
			`{"v":1,"subnet":"fd00::/64","auto":true,"created":"2026-11-23T12:00:00.000000005Z"}`,
		},
		{leaseRecord{Version: 1, Kind: kindGateway}, `{"v":1,"kind":"gateway"}`},
		{leaseRecord{Version: 1, Kind: kindDynamic, Name: "web"}, `{"v":1,"kind":"dynamic","name":"web"}`},
		{leaseRecord{Version: 1, Kind: kindStatic, Released: at}, `{"v":1,"kind":"static","released":"2026-11-23T12:00:00.000000005Z"}`},
		{ulaRecord{Version: 1, Prefix: netip.MustParsePrefix("fd12:3456:789a::/48")}, `{"v":1,"prefix":"fd12:3456:789a::/48"}`},
	} {
		got, err := encode(tc.record)
		if err != nil || string(got) != tc.want {
			t.Errorf("encode(%+v) = %s, %v, want %s", tc.record, got, err, tc.want)
		}
	}
}

func TestDecode_isStrict(t *testing.T) {
	t.Parallel()
	subnet := netip.MustParsePrefix("10.0.0.0/8")
	for _, tc := range []struct {
		value string
		newer bool
	}{
		{``, false},
		{`{}`, false},
		{`[]`, false},
		{`{"v":0,"subnet":"10.0.0.0/8","created":"2026-11-23T12:00:00Z"}`, false},
		{`{"v":"1"}`, false},
		{`{"v":1,"subnet":"10.0.0.0/8","created":"2026-11-23T12:00:00Z","extra":1}`, false},
		{`{"v":1,"subnet":"10.0.0.0/8","created":"2026-11-23T12:00:00Z"} {}`, false},
		{`{"v":1,"subnet":"11.0.0.0/8","created":"2026-11-23T12:00:00Z"}`, false},
		{`{"v":1,"subnet":"10.0.0.0/8","range":"11.0.0.0/16","created":"2026-11-23T12:00:00Z"}`, false},
		{`{"v":2,"anything":[{}]}`, true},
	} {
		if _, err := decodePool(subnet, []byte(tc.value)); err == nil || errors.Is(err, errNewer) != tc.newer {
			t.Errorf("decodePool(%s): %v, want an error, newer %v", tc.value, err, tc.newer)
		}
	}
	for _, value := range []string{`{"v":1}`, `{"v":1,"kind":"foreign"}`, `{"v":1,"kind":"static","who":"me"}`, `{"v":1,"kind":"static"}x`} {
		if r, err := decodeLease([]byte(value)); err == nil {
			t.Errorf("decodeLease(%s) = %+v", value, r)
		}
	}
}

func FuzzDecodePool(f *testing.F) {
	f.Add("10.0.0.0/8", []byte(`{"v":1,"subnet":"10.0.0.0/8","range":"10.1.0.0/16","options":{"a":"1"},"created":"2026-11-23T12:00:00Z"}`))
	f.Add("fd00::/64", []byte(`{"v":1,"subnet":"fd00::/64","auto":true,"created":"2026-11-23T12:00:00Z"}`))
	f.Add("10.0.0.0/8", []byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, text string, value []byte) {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			return
		}
		r, err := decodePool(subnet, value)
		if err != nil {
			return
		}
		if p := newPool("id", r, time.Time{}); !p.dynamic.IsValid() || !p.hosts.Contains(p.dynamic.First) {
			t.Fatalf("pool of %s has no addresses", value)
		}
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := decodePool(subnet, again); err != nil || r2.Subnet != r.Subnet || r2.Range != r.Range || r2.Auto != r.Auto {
			t.Fatalf("decodePool(%s) = %+v, and that again %+v, %v", value, r, r2, err)
		}
	})
}

func FuzzDecodeLease(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":"dynamic","name":"web"}`))
	f.Add([]byte(`{"v":1,"kind":"static","released":"2026-11-23T12:00:00Z"}`))
	f.Add([]byte(`{"v":3}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeLease(value)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		r2, err := decodeLease(again)
		if err != nil || !r2.Released.Equal(r.Released) || r2.Kind != r.Kind || r2.Name != r.Name {
			t.Fatalf("decodeLease(%s) = %+v, and that again %+v, %v", value, r, r2, err)
		}
	})
}
