package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// attach does what an engine does for one container, on a real socket, and hands
// its address to while, which runs as long as the container would.
func attach(client *http.Client, name string, while func(addr string)) error {
	must := func(path, body string) (map[string]any, error) {
		a, err := post(client, path, []byte(body))
		if err != nil {
			return nil, err
		}
		if a.Status != http.StatusOK {
			return nil, fmt.Errorf("%s %s = %v", path, body, a)
		}
		var reply map[string]any
		return reply, json.Unmarshal([]byte(a.Body), &reply)
	}
	lease, err := must("/IpamDriver.RequestAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Options":{"com.docker.network.endpoint.name":"`+name+`"}}`)
	if err != nil {
		return err
	}
	prefix, _ := lease["Address"].(string)
	addr, _, _ := strings.Cut(prefix, "/")
	id := fmt.Sprintf("%064x", name)
	which := `"NetworkID":"` + testNetwork + `","EndpointID":"` + id + `"`
	for _, step := range [][2]string{
		{"/NetworkDriver.CreateEndpoint", `{` + which + `,"Interface":{"Address":"` + prefix + `"}}`},
		{"/NetworkDriver.Join", `{` + which + `,"SandboxKey":"/var/run/docker/netns/` + name + `"}`},
		{"/NetworkDriver.ProgramExternalConnectivity", `{` + which + `,"Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80}]}}`},
		{"", ""},
		{"/NetworkDriver.RevokeExternalConnectivity", `{` + which + `}`},
		{"/NetworkDriver.Leave", `{` + which + `}`},
		{"/NetworkDriver.DeleteEndpoint", `{` + which + `}`},
		{"/IpamDriver.ReleaseAddress", `{"PoolID":"ournet-host/10.9.0.0/24","Address":"` + addr + `"}`},
	} {
		if step[0] == "" {
			while(addr)
			continue
		}
		if _, err := must(step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

func TestStack_parallelContainersNeverShareAnAddressAndLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newRealStack(t)
	client := s.open(t)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"10.9.0.0/24"}`)
	s.must(t, "/IpamDriver.RequestPool", `{"AddressSpace":"ournet-host","Pool":"fd09::/64","V6":true}`)
	s.must(t, "/NetworkDriver.CreateNetwork", networkBody(testNetwork))

	var (
		mu    sync.Mutex // guards taken
		taken = make(map[string]string)
		wg    sync.WaitGroup
	)
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() {
			for round := range 4 {
				name := fmt.Sprintf("c%d-%d", i, round)
				err := attach(client, name, func(addr string) {
					mu.Lock()
					other, shared := taken[addr]
					taken[addr] = name
					mu.Unlock()
					if shared {
						errs[i] = fmt.Errorf("%s and %s both have %s", name, other, addr)
					}
					mu.Lock()
					delete(taken, addr)
					mu.Unlock()
				})
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(s.kernel.joined)+len(s.kernel.ports) > 0 {
		t.Errorf("left behind:\n%s", s.state(t))
	}
	if got := s.Stats()["NetworkDriver.Join"]; got.Count != 200 || got.Errors != 0 {
		t.Errorf("Join = %+v, want 200 calls without an error", got)
	}
}
