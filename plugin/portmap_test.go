package plugin

import (
	"encoding/json"
	"testing"

	"github.com/ournet/ournet/driver"
)

// FuzzParsePortMap reads any port map: what is accepted is a range of ports that
// exist, by a protocol that can be published, on an address without a zone.
func FuzzParsePortMap(f *testing.F) {
	for _, seed := range []string{
		`null`, `[]`, `{}`, `[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]`,
		`[{"Proto":17,"Port":53,"HostIP":"127.0.0.1","HostPort":0,"HostPortEnd":0}]`,
		`[{"Proto":132,"Port":1,"HostIP":"2001:db8::1","HostPort":8000,"HostPortEnd":8010}]`,
		`[{"Proto":6,"Port":80,"HostIP":"::ffff:10.0.0.1","HostPort":8010,"HostPortEnd":8000}]`,
		`[{"Proto":1,"Port":80}]`, `[{"Proto":6,"Port":0}]`, `[{"Proto":6,"Port":70000}]`,
		`[{"Proto":6,"Port":80,"HostIP":"fe80::1%eth0"}]`, `[{"Proto":6,"Port":80,"HostPortEnd":9}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		bindings, err := parsePortMap(map[string]json.RawMessage{optPortMap: raw})
		if err != nil {
			if len(bindings) > 0 {
				t.Errorf("%q is an error and %v", raw, bindings)
			}
			return
		}
		for _, b := range bindings {
			known := b.Protocol == driver.TCP || b.Protocol == driver.UDP || b.Protocol == driver.SCTP
			if !known || b.Port == 0 || b.HostPortEnd < b.HostPort || b.HostPort == 0 && b.HostPortEnd != 0 {
				t.Errorf("%q gives %+v", raw, b)
			}
			if b.HostAddr.Zone() != "" || b.HostAddr.Is4In6() {
				t.Errorf("%q gives the address %s", raw, b.HostAddr)
			}
		}
	})
}
