package driver_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/store/memstore"
)

// Attached makes the kernel a [driver.Prober].
func (k *kernel) Attached(ep driver.Endpoint) (bool, error) {
	there := false
	err := k.do("Attached", func() { there = k.ifs[ep.ID] })
	return there, err
}

func TestPublish_takesPortsFromEndpointsThatLostTheirInterface(t *testing.T) {
	t.Parallel()
	bindings := []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}
	for name, tc := range map[string]struct {
		lost   time.Duration // when the first endpoint loses its interface, 0 for never
		wanted []driver.Binding
		taken  bool
	}{
		"its interface is there":     {0, bindings, false},
		"its interface is gone":      {time.Nanosecond, bindings, true},
		"its interface goes soon":    {500 * time.Millisecond, bindings, true},
		"another port is wanted":     {time.Nanosecond, []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8081, HostPortEnd: 8090}}, false},
		"another protocol is wanted": {time.Nanosecond, []driver.Binding{{Protocol: driver.UDP, Port: 80, HostPort: 8080, HostPortEnd: 8080}}, false},
		"any port is wanted":         {time.Nanosecond, []driver.Binding{{Protocol: driver.TCP, Port: 80}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := newKernel()
				r := openRegistry(t, memstore.New(), k)
				n := testNetwork(1)
				if err := r.CreateNetwork(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				first, second := testEndpoint(1, 1), testEndpoint(1, 2)
				publish(t, r, first, bindings)
				if tc.lost > 0 {
					time.AfterFunc(tc.lost, func() { _ = k.Leave(context.Background(), n, first) }) // it never fails
					time.Sleep(time.Microsecond)                                                    //nolint:forbidigo // in synctest's time
				}
				publish(t, r, second, tc.wanted)
				have, _ := r.Endpoint(n.ID, first.ID)
				if taken := len(have.Published) == 0; taken != tc.taken {
					t.Errorf("the first endpoint's ports were taken: %t, want %t", taken, tc.taken)
				}
			})
		})
	}
}

// publish makes the endpoint, joins it and publishes its ports.
func publish(t *testing.T, r *driver.Registry, ep driver.Endpoint, bindings []driver.Binding) {
	t.Helper()
	if _, err := r.CreateEndpoint(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Join(t.Context(), ep.Network, ep.ID, "/var/run/docker/netns/"+string(ep.ID)); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(t.Context(), ep.Network, ep.ID, bindings); err != nil {
		t.Fatal(err)
	}
}

// A range that many containers share must not cost each of them a wait.
func TestPublish_doesNotWaitForTheLivingOfItsRange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := openRegistry(t, memstore.New(), newKernel())
		if err := r.CreateNetwork(t.Context(), testNetwork(1)); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			port := uint16(8000 + i)
			publish(t, r, testEndpoint(1, i), []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: port, HostPortEnd: port}})
		}
		began := time.Now()
		publish(t, r, testEndpoint(1, 7), []driver.Binding{{Protocol: driver.TCP, Port: 80, HostPort: 8000, HostPortEnd: 8010}})
		if took := time.Since(began); took > 0 {
			t.Errorf("Publish waited %s for containers that live", took)
		}
	})
}
