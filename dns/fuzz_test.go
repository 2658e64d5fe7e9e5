package dns

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

// FuzzAnswer sends anything. Every answer has to be one that both libraries read,
// and both ways of answering have to agree.
func FuzzAnswer(f *testing.F) {
	for _, msg := range corpus() {
		f.Add(msg, false)
	}
	for _, size := range []int{11, 12, 255, 256} {
		f.Add(longName(max(size, 20))[:size], true)
	}
	s := newService(crowded())
	f.Fuzz(func(t *testing.T, msg []byte, tcp bool) {
		tr := overUDP
		if tcp {
			tr = overTCP
		}
		reply, v := s.answer(msg, tr, netip.Addr{}, nil)
		if v == answered {
			checkReply(t, msg, reply, tr)
		}
		if v == forwarded {
			checkReply(t, msg, failure(msg, tr), tr)
		}
		sameBothWays(t, msg, tr)
	})
}

// FuzzDeliver takes anything for an answer of the other resolver. It may only
// answer the query that waits, with its own id.
func FuzzDeliver(f *testing.F) {
	q := asked("example.com", typeA)
	f.Add(q, append([]byte{0, 1, 0x81, 0x80}, q[4:]...))
	f.Add(asked("example.com", typeA, withCookie), append([]byte{0, 1, 0x81, 0x85}, make([]byte, 8)...))
	f.Fuzz(func(t *testing.T, msg, answer []byte) {
		q, v, _ := readQuery(msg, new(nameBuffer))
		if v != forwarded {
			return
		}
		if len(answer) < headerSize || !isAnswer(msg, answer) {
			return
		}
		if answer[4]|answer[5] != 0 && len(cut(msg, answer)) != q.end {
			t.Fatalf("cut %x for %x", answer, msg)
		}
	})
}

func FuzzReverseAddr(f *testing.F) {
	f.Add("4.3.2.1.in-addr.arpa")
	f.Add("3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa")
	f.Fuzz(func(t *testing.T, name string) {
		if a, ok := reverseAddr([]byte(name)); ok && reverseName(a) != name {
			t.Fatalf("%s stands for %s, whose name is %s", name, a, reverseName(a))
		}
	})
}

// reverseName is the way back, written as one would read it in RFC 1035 and 3596.
func reverseName(a netip.Addr) string {
	const digits = "0123456789abcdef"
	var name string
	if a.Is4() {
		for _, b := range a.As4() {
			name = decimal(b) + "." + name
		}
		return name + "in-addr.arpa"
	}
	for _, b := range a.As16() {
		name = string(digits[b&15]) + "." + string(digits[b>>4]) + "." + name
	}
	return name + "ip6.arpa"
}

func decimal(b byte) string {
	s := string('0' + rune(b%10))
	if b >= 10 {
		s = decimal(b/10) + s
	}
	return s
}

func TestAnswer_randomPacketsNeitherPanicNorGrow(t *testing.T) {
	s := newService(crowded())
	rnd := rand.New(rand.NewPCG(1, 2))
	seeds := corpus()
	out := make([]byte, 0, maxTCP)
	measure := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, goroutines := measure(), runtime.NumGoroutine()
	for range *packetCount {
		msg := randomPacket(rnd, seeds)
		reply, v := s.answer(msg, overUDP, netip.Addr{}, out)
		if v == answered && len(reply) > maxUDP {
			t.Fatalf("an answer of %d bytes to %x", len(reply), msg)
		}
		if v == forwarded {
			failure(msg, overUDP)
		}
	}
	if s.responder.complained.Load() != 0 {
		t.Error("there was a panic")
	}
	if after := measure(); after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
}

// randomPacket is noise, or a query with some of it.
func randomPacket(rnd *rand.Rand, seeds [][]byte) []byte {
	if rnd.IntN(3) == 0 {
		msg := make([]byte, rnd.IntN(200))
		for i := range msg {
			msg[i] = byte(rnd.Uint32())
		}
		return msg
	}
	msg := append([]byte(nil), seeds[rnd.IntN(len(seeds))]...)
	for range rnd.IntN(4) {
		msg[rnd.IntN(len(msg))] = byte(rnd.Uint32())
	}
	return msg[:len(msg)-rnd.IntN(3)*rnd.IntN(len(msg)/2)/2]
}
