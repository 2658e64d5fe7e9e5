package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	miekgdns "github.com/miekg/dns"
	"github.com/sirupsen/logrus"
	"golang.org/x/net/dns/dnsmessage"
)

// quiet returns a log that nobody reads.
func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(new(bytes.Buffer))
	return log
}

// newService returns the service of [box], without sockets.
func newService(r *Records) *service {
	return &service{responder: New(quiet(), r, Options{}), key: box}
}

// asked builds a query with one library.
func asked(name string, qtype uint16, change ...func(*miekgdns.Msg)) []byte {
	m := new(miekgdns.Msg).SetQuestion(miekgdns.Fqdn(name), qtype)
	m.Id = 0x1234
	for _, f := range change {
		f(m)
	}
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

func withEDNS(size uint16) func(*miekgdns.Msg) {
	return func(m *miekgdns.Msg) { m.SetEdns0(size, false) }
}

// shown is an answer as text, read by the other library: the code and flags, then
// one line for each record.
func shown(t testing.TB, raw []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("the answer cannot be read: %v\n%x", err, raw)
	}
	var b strings.Builder
	rcode := m.RCode
	for _, r := range m.Additionals {
		rcode = r.Header.ExtendedRCode(rcode)
	}
	b.WriteString(strings.TrimPrefix(rcode.String(), "RCode"))
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"aa", m.Authoritative},
		{"tc", m.Truncated},
		{"rd", m.RecursionDesired},
		{"ra", m.RecursionAvailable},
		{"ad", m.AuthenticData},
		{"cd", m.CheckingDisabled},
	} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	for _, r := range m.Answers {
		fmt.Fprintf(&b, "\n%s %d %s", r.Header.Name, r.Header.TTL, body(r.Body))
	}
	if len(m.Authorities) > 0 {
		fmt.Fprintf(&b, "\n%d authorities", len(m.Authorities))
	}
	for _, r := range m.Additionals {
		fmt.Fprintf(&b, "\nopt %d do=%t", r.Header.Class, r.Header.DNSSECAllowed())
	}
	return b.String()
}

func body(b dnsmessage.ResourceBody) string {
	switch b := b.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.PTRResource:
		return "PTR " + b.PTR.String()
	default:
		return fmt.Sprintf("%T", b)
	}
}

// checkReply holds any answer to any message to what every answer must be.
func checkReply(t testing.TB, msg, reply []byte, tr transport) {
	t.Helper()
	var got miekgdns.Msg
	if err := got.Unpack(reply); err != nil {
		t.Fatalf("one library cannot read the answer: %v\nquery %x\nreply %x", err, msg, reply)
	}
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil {
		t.Fatalf("the other library cannot read the answer: %v\nquery %x\nreply %x", err, msg, reply)
	}
	if !bytes.Equal(msg[:2], reply[:2]) || !h.Response {
		t.Fatalf("id or direction is wrong\nquery %x\nreply %x", msg, reply)
	}
	if (msg[2]^reply[2])&(maskOpcode|flagRecursion) != 0 || (msg[3]^reply[3])&flagChecking != 0 {
		t.Fatalf("opcode, RD or CD is not the query's\nquery %x\nreply %x", msg, reply)
	}
	q, v, _ := readQuery(msg, new(nameBuffer))
	// That library refuses names with a dot inside a label.
	if _, err := p.AllQuestions(); err != nil && q.plain {
		t.Fatalf("the question cannot be read: %v\nreply %x", err, reply)
	}
	if len(got.Question) > 0 {
		if v != forwarded || !bytes.Equal(msg[headerSize:q.end], reply[headerSize:q.end]) {
			t.Fatalf("the question is not repeated letter by letter\nquery %x\nreply %x", msg, reply)
		}
	}
	limit := maxTCP
	if tr == overUDP {
		limit = minUDP
		var asked miekgdns.Msg
		if asked.Unpack(msg) == nil {
			for _, rr := range asked.Extra {
				if opt, ok := rr.(*miekgdns.OPT); ok {
					limit = max(limit, int(opt.UDPSize()))
				}
			}
		}
	}
	if len(reply) > limit {
		t.Fatalf("%d bytes are more than the %d that the client takes\nquery %x", len(reply), limit, msg)
	}
}
