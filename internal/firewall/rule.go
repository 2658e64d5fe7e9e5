package firewall

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The bits of the packet mark that we use between our chains. They are or-ed in and
// taken off again, so marks of others keep their other bits. (Kubernetes uses
// 0xc000, Tailscale 0xff0000, Calico by default 0xffff0000 on hosts of its own.)
const (
	markAccept  = 0x08000000 // the iptables rule shall accept it
	markHairpin = 0x04000000 // it goes back to the network it came from by a published port
)

// chain says what a chain and its rules are.
type chain struct {
	name string
	// kind is "" for a chain that others jump to.
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

// rule is a rule in the language of nft and as the expressions that mean the same.
// A test lists the table with nft and compares the two.
type rule struct {
	text  string
	exprs []expr.Any
}

// comment identifies the rule, so that one that was changed or replaced is found
// without understanding the kernel's answer.
func (r rule) comment() (string, error) {
	h := fnv.New32a()
	h.Write([]byte(r.text))
	for _, e := range r.exprs {
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return "", fmt.Errorf("encode rule %q: %w", r.text, err)
		}
		h.Write(b)
	}
	return fmt.Sprintf("ournet %08x", h.Sum32()), nil
}

// part is a piece of a rule.
type part struct {
	text  string
	exprs []expr.Any
}

func newRule(parts ...part) rule {
	var (
		r     rule
		texts []string
	)
	for _, p := range parts {
		if p.text != "" {
			texts = append(texts, p.text)
		}
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.text = strings.Join(texts, " ")
	return r
}

// iif and oif match the device that a packet came from or leaves by.
func iif(op, set string) part { return deviceIn("iifname", expr.MetaKeyIIFNAME, op, set) }
func oif(op, set string) part { return deviceIn("oifname", expr.MetaKeyOIFNAME, op, set) }

func deviceIn(text string, key expr.MetaKey, op, set string) part {
	if op != "" {
		text += " " + op
	}
	return part{text + " @" + set, []expr.Any{
		&expr.Meta{Key: key, Register: reg(0)},
		&expr.Lookup{SourceRegister: reg(0), SetName: set, Invert: op == "!="},
	}}
}

// sameDevice matches what leaves by one of our bridges that it came from.
func sameDevice() part { return devicePair(setSame) }

// devicePair matches the device that a packet came from with the one it leaves by.
func devicePair(set string) part {
	return part{"iifname . oifname @" + set, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg(0)},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg(4)}, // after the 16 bytes of a name
		&expr.Lookup{SourceRegister: reg(0), SetName: set},
	}}
}

// established matches packets of connections that were let pass before.
func established() part {
	return part{"ct state established,related", bits(&expr.Ct{Key: expr.CtKeySTATE, Register: reg(0)},
		expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)}
}

// translated matches packets of connections whose destination was changed: those
// to a published port. IPS_DST_NAT in nf_conntrack_common.h.
func translated() part {
	const dstNAT = 1 << 5
	return part{"ct status dnat", bits(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg(0)}, dstNAT)}
}

// marked matches packets with any of the mark's bits.
func marked(mask uint32) part {
	return part{
		fmt.Sprintf("meta mark & 0x%08x != 0x00000000", mask),
		bits(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)}, mask),
	}
}

// bits loads a value and matches if any bit of the mask is in it.
func bits(load expr.Any, mask uint32) []expr.Any {
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: native(mask), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg(0), Data: native(0)},
	}
}

// setMark turns bits of the mark on.
func setMark(mask uint32) part {
	return part{fmt.Sprintf("meta mark set meta mark | 0x%08x", mask), changeMark(^mask, mask)}
}

// clearMark turns bits of the mark off.
func clearMark(mask uint32) part {
	return part{fmt.Sprintf("meta mark set meta mark & 0x%08x", ^mask), changeMark(^mask, 0)}
}

func changeMark(mask, xor uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)},
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: native(mask), Xor: native(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg(0)},
	}
}

func accept() part { return verdict("accept", expr.VerdictAccept, "") }
func drop() part   { return verdict("drop", expr.VerdictDrop, "") }

func goTo(chain string) part { return verdict("goto "+chain, expr.VerdictGoto, chain) }

func verdict(text string, kind expr.VerdictKind, chain string) part {
	return part{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

func masquerade() part { return part{"masquerade", []expr.Any{&expr.Masq{}}} }

// toThisHost matches packets to an address of the host itself.
func toThisHost() part {
	return part{"fib daddr type local", []expr.Any{
		&expr.Fib{Register: reg(0), FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg(0), Data: native(unix.RTN_LOCAL)},
	}}
}

func native(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }
