package dns

import (
	"bytes"
	"net/netip"
	"strings"
)

const (
	// RFC 1035 s2.3.4.
	maxName  = 255 // on the wire, with all lengths
	maxLabel = 63
)

// canonical returns the form of a name that is compared: lower case, without the
// final dot. It reports false for what cannot be asked for in DNS.
func canonical(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName-2 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return "", false
		}
	}
	b := []byte(name)
	for i, c := range b {
		// The backslash is how libraries write bytes that are none of these.
		if c <= ' ' || c == 0x7f || c == '\\' || c == '"' {
			return "", false
		}
		b[i] = lower(c)
	}
	return string(b), true
}

// lower is RFC 4343: only ASCII letters have a case.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// reverseAddr returns the address that a name below in-addr.arpa or ip6.arpa, in
// canonical form, stands for.
func reverseAddr(name []byte) (netip.Addr, bool) {
	if rest, ok := bytes.CutSuffix(name, []byte(".in-addr.arpa")); ok {
		return reverse4(rest)
	}
	if rest, ok := bytes.CutSuffix(name, []byte(".ip6.arpa")); ok {
		return reverse6(rest)
	}
	return netip.Addr{}, false
}

func reverse4(rest []byte) (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		label, more := rest, i < len(a)-1
		if dot := bytes.IndexByte(rest, '.'); more != (dot >= 0) {
			return netip.Addr{}, false
		} else if more {
			label, rest = rest[:dot], rest[dot+1:]
		}
		if len(label) == 0 || len(label) > 3 || len(label) > 1 && label[0] == '0' {
			return netip.Addr{}, false
		}
		n := 0
		for _, c := range label {
			if c < '0' || c > '9' {
				return netip.Addr{}, false
			}
			n = 10*n + int(c-'0')
		}
		if n > 0xff {
			return netip.Addr{}, false
		}
		a[len(a)-1-i] = byte(n)
	}
	return netip.AddrFrom4(a), true
}

func reverse6(rest []byte) (netip.Addr, bool) {
	var a [16]byte
	if len(rest) != 4*len(a)-1 {
		return netip.Addr{}, false
	}
	for i := range 2 * len(a) {
		if i > 0 && rest[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		v, ok := hexDigit(rest[2*i])
		if !ok {
			return netip.Addr{}, false
		}
		at := len(a) - 1 - i/2
		a[at] |= v << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	default:
		return 0, false
	}
}
