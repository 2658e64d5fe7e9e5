package dns

import (
	"net"

	miekgdns "github.com/miekg/dns"
)

// full answers any query for an owned name, whatever else is in it. It reads the
// query again, so that what the short way reads stays on the stack.
func (v *view) full(msg []byte, t transport) []byte {
	q, verdict, rcode := readQuery(msg, new(nameBuffer))
	if verdict != forwarded {
		return refusal(nil, msg, rcode)
	}
	var m miekgdns.Msg
	if err := m.Unpack(msg); err != nil {
		return refusal(nil, msg, rcodeFormat)
	}
	r := newReply(&m)
	e, code := ednsOf(&m)
	if code == miekgdns.RcodeSuccess {
		r.Authoritative = true
		r.Answer = v.records(&q, m.Question[0].Name)
	}
	r.Rcode = code
	return pack(msg, r, e, t)
}

// failure is the answer to a query that nobody else answers.
func failure(msg []byte, t transport) []byte { return unanswered(msg, t, rcodeServer) }

// unanswered is an answer that has the question and a code.
func unanswered(msg []byte, t transport, rcode byte) []byte {
	var m miekgdns.Msg
	if err := m.Unpack(msg); err != nil {
		return refusal(nil, msg, rcode)
	}
	r := newReply(&m)
	e, _ := ednsOf(&m)
	r.Rcode = int(rcode)
	return pack(msg, r, e, t)
}

func newReply(m *miekgdns.Msg) *miekgdns.Msg {
	r := new(miekgdns.Msg).SetReply(m)
	r.RecursionAvailable = true
	return r
}

// ednsOf returns what the sender says of itself, and the code if that is nothing
// that can be answered: RFC 6891 s6.1.1 wants one OPT record, s6.1.3 the version.
func ednsOf(m *miekgdns.Msg) (e edns, rcode int) {
	for _, rr := range m.Extra {
		opt, ok := rr.(*miekgdns.OPT)
		switch {
		case !ok:
			continue
		case e.present:
			return e, miekgdns.RcodeFormatError
		case opt.Version() != 0:
			rcode = miekgdns.RcodeBadVers
		}
		e = edns{present: true, size: int(opt.UDPSize()), secure: opt.Do()}
	}
	return e, rcode
}

// pack writes the answer r to msg.
func pack(msg []byte, r *miekgdns.Msg, e edns, t transport) []byte {
	if e.present {
		r.SetEdns0(maxUDP, e.secure)
	}
	r.Truncate(t.limit(e))
	out, err := r.Pack()
	if err != nil {
		// A question that can be read and not be written again is not worth more.
		return refusal(nil, msg, rcodeServer)
	}
	return out
}

// owns reports whether the name exists, of whatever type.
func (v *view) owns(q *query) bool {
	if v.find(q.name, ipv4).owned {
		return true
	}
	a, ok := reverseAddr(q.name)
	return ok && len(v.reverse(a)) > 0
}

// records returns what the name has of the type that is asked for. That the name is
// owned and this is empty is an answer too: it has nothing of the kind.
func (v *view) records(q *query, name string) []miekgdns.RR {
	var rrs []miekgdns.RR
	if q.qtype == typeA || q.qtype == typeANY {
		for _, a := range v.find(q.name, ipv4).addresses(ipv4) {
			rrs = append(rrs, &miekgdns.A{Hdr: header(name, typeA, a.ttl), A: a.ip})
		}
	}
	if q.qtype == typeAAAA || q.qtype == typeANY {
		for _, a := range v.find(q.name, ipv6).addresses(ipv6) {
			rrs = append(rrs, &miekgdns.AAAA{Hdr: header(name, typeAAAA, a.ttl), AAAA: a.ip})
		}
	}
	if q.qtype == typePTR || q.qtype == typeANY {
		if a, ok := reverseAddr(q.name); ok {
			for _, n := range v.reverse(a) {
				rrs = append(rrs, &miekgdns.PTR{Hdr: header(name, typePTR, n.ttl), Ptr: miekgdns.Fqdn(n.name)})
			}
		}
	}
	return rrs
}

func header(name string, qtype uint16, ttl uint32) miekgdns.RR_Header {
	return miekgdns.RR_Header{Name: name, Rrtype: qtype, Class: classIN, Ttl: ttl}
}

type address struct {
	ip  net.IP
	ttl uint32
}

// addresses returns the addresses in the order of this answer.
func (r found) addresses(f family) []address {
	if r.set == nil {
		return nil
	}
	size := f.size()
	count := len(r.set.rdata) / size
	first := r.set.first(count)
	out := make([]address, count)
	for i := range out {
		at := (first + i) % count * size
		out[i] = address{ip: r.set.rdata[at : at+size], ttl: r.ttl}
	}
	return out
}
