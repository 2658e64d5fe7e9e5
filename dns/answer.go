package dns

import "encoding/binary"

const (
	// maxUDP is the longest answer over UDP, to those who say that they take it,
	// and the longest query.
	maxUDP = 4096
	// minUDP is what everybody takes (RFC 1035 s4.2.1).
	minUDP = 512
	maxTCP = 1<<16 - 1
)

// transport is how a query came.
type transport int

const (
	overUDP transport = iota
	overTCP
)

// limit returns how long an answer may be.
func (t transport) limit(e edns) int {
	if t == overTCP {
		return maxTCP
	}
	return min(max(e.size, minUDP), maxUDP)
}

// answer answers a query of the plainest kind in out, if it is one: for an address,
// of a name that is owned. It takes no memory but out's. What it answers,
// [view.full] answers in the same way.
func (q *query) answer(v *view, t transport, out []byte) (reply []byte, ok bool) {
	var f family
	switch q.qtype {
	case typeA:
		f = ipv4
	case typeAAAA:
		f = ipv6
	default:
		return nil, false
	}
	e, ok := q.edns()
	if !ok {
		return nil, false
	}
	r := v.find(q.name, f)
	if !r.owned {
		return nil, false
	}
	return q.append(out, e, t.limit(e), f, r), true
}

// append writes an answer. Addresses that do not fit are left out and the answer
// says so: clients that know TCP ask again, those that do not have most of it. An
// empty answer has no SOA record, so nobody keeps it (RFC 2308 s5): the address may
// be there in a moment.
func (q *query) append(out []byte, e edns, limit int, f family, r found) []byte {
	out = append(out, q.msg[:q.end]...) // the question as it came, for those who mix capitals into it
	out[2] = flagResponse | flagAuthority | q.msg[2]&flagRecursion
	out[3] = flagAvailable | q.msg[3]&flagChecking
	count := 0
	if r.set != nil {
		size := f.size()
		count = len(r.set.rdata) / size
		at := r.set.first(count)
		room := limit - q.end
		if e.present {
			room -= optSize
		}
		all := count
		if fit := room / (12 + size); fit < count {
			count = fit
			out[2] |= flagTruncated
		}
		for range count {
			out = append(out, 0xc0, headerSize) // the name is in the question
			out = binary.BigEndian.AppendUint16(out, q.qtype)
			out = append(out, 0, classIN)
			out = binary.BigEndian.AppendUint32(out, r.ttl)
			out = binary.BigEndian.AppendUint16(out, uint16(size)) //nolint:gosec // 4 or 16
			out = append(out, r.set.rdata[at*size:(at+1)*size]...)
			if at++; at == all {
				at = 0
			}
		}
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	binary.BigEndian.PutUint32(out[8:], 0)
	if e.present {
		out[11] = 1
		out = append(out, 0, 0, typeOPT, maxUDP>>8, maxUDP&0xff, 0, 0, 0, 0, 0, 0)
		if e.secure {
			out[len(out)-4] = 0x80
		}
	}
	return out
}

// refusal is an answer of nothing but a header and a code, to what cannot be read.
func refusal(out, msg []byte, rcode byte) []byte {
	out = append(out, msg[0], msg[1], flagResponse|msg[2]&(maskOpcode|flagRecursion), flagAvailable|msg[3]&flagChecking|rcode)
	return append(out, 0, 0, 0, 0, 0, 0, 0, 0)
}
