package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ournet/ournet/test/lab"
)

// What fits between the hosts passes, and what does not is known to both sides: the
// largest packet that may not be cut, larger ones that may, and a stream.
func TestCluster_largePacketsAndStreamsPass(t *testing.T) {
	inClusters(t, everyComposition(), func(c *cluster) { c.carries(1450) })
}

// By IPv6 the headers between hosts are larger.
func TestCluster_largePacketsAndStreamsPassByIPv6(t *testing.T) {
	t.Parallel()
	inFreshCluster(t, clusterOptions{engines: lab.Engines(), six: true}, func(c *cluster) { c.carries(1430) })
}

// carries asserts that packets of so many bytes pass uncut, the underlay's MTU less the
// headers around a frame.
func (c *cluster) carries(mtu int) {
	c.Helper()
	c.overlay("lab", "--ipv6 --subnet 10.50.0.0/24 --subnet fd00:50::/64")
	for _, h := range c.hosts {
		h.run("docker run -d --name c1 --network lab busybox sleep 1d")
	}
	c.assertConsistent("before traffic")
	for _, from := range c.hosts {
		if got := from.docker("exec", "c1", "cat", "/sys/class/net/"+from.deviceOf("c1", "lab")+"/mtu"); got != strconv.Itoa(mtu) {
			from.Errorf("the container's MTU is %s, want %d", got, mtu)
		}
		for _, to := range c.hosts {
			if from == to {
				continue
			}
			for family, target := range to.addresses("c1", "lab") {
				headers := []int{28, 48}[family]
				if err := from.ping("c1", target, mtu-headers, "-M", "do"); err != nil {
					from.Error(err)
				}
				if err := from.ping("c1", target, mtu-headers+1, "-M", "do"); err == nil {
					from.Errorf("a packet of %d bytes passes uncut", mtu+1)
				}
				if err := from.ping("c1", target, 8000); err != nil {
					from.Error(err)
				}
			}
		}
	}
	c.streamOf(c.host(1), c.host(2), 0)
	c.streamOf(c.host(2), c.host(1), 1)
}

// deviceOf returns the name of the container's interface on the network.
func (h *host) deviceOf(container, network string) string {
	h.Helper()
	links, err := interfacesIn(h.namespaceOf(container))
	if err != nil {
		h.Fatal(err)
	}
	mac := h.container(container).NetworkSettings.Networks[network].MacAddress
	for _, l := range links {
		if l.mac == mac {
			return l.name
		}
	}
	h.Fatalf("%s has no interface with the address %s: %+v", container, mac, links)
	return ""
}

// ping sends a packet with so many bytes of data from within the container, by the
// machine's own program: busybox's cannot forbid to cut it.
func (h *host) ping(container, target string, size int, options ...string) error {
	h.Helper()
	argv := append([]string{"ping", "-n", "-c", "1", "-W", "10", "-s", strconv.Itoa(size)}, options...)
	_, err := lab.InNamespace(h.ctx, h.namespaceOf(container), append(argv, target)...)
	if err != nil {
		return fmt.Errorf("%d bytes from %s of %s: %w", size, container, h.Name, err)
	}
	return nil
}

// streamOf sends as fast as it can for two seconds and prints how fast that was.
func (c *cluster) streamOf(from, to *host, family int) {
	c.Helper()
	target := to.addresses("c1", "lab")[family]
	server, err := lab.StartInNamespace(to.ctx, to.namespaceOf("c1"), "iperf3", "--server", "--one-off", "--forceflush")
	if err != nil {
		c.Fatal(err)
	}
	err = lab.Poll(to.ctx, "iperf3 to listen", func() error {
		if !strings.Contains(server.Output(), "listening") {
			return fmt.Errorf("it says %q", server.Output())
		}
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
	text, err := lab.InNamespace(from.ctx, from.namespaceOf("c1"), "iperf3", "--json", "--time", "2", "--client", target)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := server.Wait(); err != nil {
		c.Error(err)
	}
	var report struct {
		End struct {
			Received struct {
				Bytes         float64 `json:"bytes"`
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		c.Fatal(err)
	}
	if report.End.Received.Bytes == 0 {
		c.Errorf("nothing arrived of a stream to %s: %s", target, text)
	}
	c.Logf("a stream from %s to %s at %s: %.2f Gbit/s", from.Name, to.Name, target, report.End.Received.BitsPerSecond/1e9)
}
