package dns

import "encoding/binary"

// The parts of a message that are read and written in place; RFC 1035 s4.1.
const (
	headerSize = 12

	flagResponse  = 0x80 // in the third byte
	maskOpcode    = 0x78
	flagAuthority = 0x04
	flagTruncated = 0x02
	flagRecursion = 0x01 // desired

	flagAvailable = 0x80 // in the fourth byte
	flagChecking  = 0x10 // disabled, RFC 4035 s3.2.2
	maskRcode     = 0x0f

	typeA    = 1
	typePTR  = 12
	typeAAAA = 28
	typeOPT  = 41
	typeANY  = 255
	classIN  = 1

	rcodeFormat      = 1
	rcodeServer      = 2
	rcodeUnsupported = 4
	rcodeRefused     = 5
)

// nameBuffer has room for any name.
type nameBuffer [maxName]byte

// query is a question as it came.
type query struct {
	msg []byte
	// end is where the question ends in msg.
	end           int
	qtype, qclass uint16
	// name is what is asked for, in canonical form.
	name []byte
	// plain is false for a name that nobody can have.
	plain bool
}

// verdict is what becomes of a message.
type verdict int

const (
	ignored   verdict = iota // nothing is answered
	answered                 // the answer is there
	forwarded                // someone else has to be asked
)

// readQuery reads the header and the question. If it cannot be gone on with, it is
// ignored or refused with that code; what other servers do, so does this one.
func readQuery(msg []byte, buf *nameBuffer) (q query, v verdict, rcode byte) {
	// An answer to an answer would go round and round.
	if len(msg) < headerSize || msg[2]&flagResponse != 0 {
		return query{}, ignored, 0
	}
	if msg[2]&maskOpcode != 0 {
		return query{}, answered, rcodeUnsupported
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return query{}, answered, rcodeFormat
	}
	name, end, plain, ok := readName(msg, headerSize, buf)
	if !ok || end+4 > len(msg) {
		return query{}, answered, rcodeFormat
	}
	return query{
		msg: msg, name: name, plain: plain, end: end + 4,
		qtype: binary.BigEndian.Uint16(msg[end:]), qclass: binary.BigEndian.Uint16(msg[end+2:]),
	}, forwarded, 0
}

// edns is what the sender says of itself; RFC 6891.
type edns struct {
	present bool
	size    int  // of the answers that it takes over UDP
	secure  bool // the bit DO, which the answer repeats (RFC 3225 s3)
}

// optSize is the length of an OPT record without options.
const optSize = 11

// edns reads what follows the question, if that is nothing or an OPT record of the
// plainest kind. It reports false for anything else.
func (q *query) edns() (e edns, ok bool) {
	counts, rest := q.msg[6:headerSize], q.msg[q.end:]
	if counts[0]|counts[1]|counts[2]|counts[3]|counts[4] != 0 || counts[5] > 1 {
		return edns{}, false
	}
	if counts[5] == 0 {
		return edns{}, len(rest) == 0
	}
	// The root's name; the type; no upper bits of a code, version 0; no options.
	if len(rest) != optSize || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != typeOPT ||
		rest[5] != 0 || rest[6] != 0 || rest[9] != 0 || rest[10] != 0 {
		return edns{}, false
	}
	return edns{present: true, size: int(binary.BigEndian.Uint16(rest[3:])), secure: rest[7]&0x80 != 0}, true
}

// readName reads the name at off in a message, in canonical form. A question has
// nothing before it that a compressed name could point to, so a pointer is a
// mistake there. A label with a dot in it would look like two; such a name gets
// plain = false: nobody has it. The root's name is empty.
func readName(msg []byte, off int, buf *nameBuffer) (name []byte, end int, plain, ok bool) {
	n, start := 0, off
	plain = true
	for {
		if off >= len(msg) {
			return nil, 0, false, false
		}
		size := int(msg[off])
		off++
		if size == 0 {
			return buf[:n], off, plain, true
		}
		if size > maxLabel || off+size >= len(msg) || off+size+1-start > maxName {
			return nil, 0, false, false
		}
		if n > 0 {
			buf[n] = '.'
			n++
		}
		for _, c := range msg[off : off+size] {
			if c == '.' {
				plain = false
			}
			buf[n] = lower(c)
			n++
		}
		off += size
	}
}
