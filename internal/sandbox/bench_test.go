package sandbox

import (
	"fmt"
	"net"
	"testing"
)

// The heartbeat of a host with that many containers.
func BenchmarkBeat(b *testing.B) {
	h := newHost(b)
	s := h.sandboxes(Options{Timeout: longAgo})
	const count = 100
	for i := range count {
		if _, err := s.Ensure(b.Context(), h.start(fmt.Sprintf("c%d", i)).key); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s.beat(b.Context(), s.keys())
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/count, "µs/sandbox")
}

func BenchmarkEnsure(b *testing.B) {
	h := newHost(b)
	s := h.sandboxes(Options{Timeout: longAgo})
	c := h.start("a")
	for b.Loop() {
		if _, err := s.Ensure(b.Context(), c.key); err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(b.Context(), c.key); err != nil {
			b.Fatal(err)
		}
	}
}

// What the rules cost a packet of the container's that is no query: it is sent to nobody.
func BenchmarkPacket(b *testing.B) {
	for _, name := range []string{"without rules", "with ours"} {
		b.Run(name, func(b *testing.B) {
			h := newHost(b)
			c, s := h.start("a"), h.sandboxes(Options{Timeout: longAgo})
			c.ns.Exec(b, "ip", "link", "add", "out", "type", "veth", "peer", "nobody")
			c.ns.Exec(b, "ip", "address", "add", "10.1.0.2/24", "dev", "out")
			c.ns.Exec(b, "ip", "link", "set", "out", "up")
			c.ns.Exec(b, "ip", "link", "set", "nobody", "up")
			c.ns.Exec(b, "ip", "neighbour", "add", "10.1.0.3", "lladdr", "02:00:00:00:00:01", "dev", "out")
			// The kernel tracks flows in a namespace from the first rule on that needs it.
			c.engine(engines()["nftables"])
			if name == "with ours" {
				c.ensure(s)
			}
			var conn net.Conn
			c.ns.Run(b, func() (err error) {
				conn, err = net.Dial("udp", "10.1.0.3:9")
				return err
			})
			defer conn.Close() //nolint:errcheck // nothing was read
			message := make([]byte, 64)
			for b.Loop() {
				if _, err := conn.Write(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
