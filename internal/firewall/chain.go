package firewall

import (
	"slices"

	"github.com/google/nftables"
)

// The names of our chains.
const (
	chainLoopback    = "loopback"
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainForward     = "forward"
	chainSame        = "same-network"
	chainEntry       = "entry"
	chainPass        = "pass"
	chainPostrouting = "postrouting"
	chainUnmark      = "unmark"
)

// wantChains returns our chains, those first that others jump to. They are the same
// on every host; what differs is in the sets. What is dropped is counted, and what is
// let pass; a change of elements leaves the counters as they are.
func wantChains() []chain {
	return slices.Concat([]chain{
		{name: chainPass, rules: passRules()},
		{name: chainSame, rules: sameNetworkRules()},
		{name: chainEntry, rules: entryRules()},
		{
			// Before connection tracking, as the first thing that sees a packet.
			name: chainLoopback, kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookPrerouting, priority: -300, rules: loopbackRules(),
		},
		{
			// A step before iptables' nat chains (-100), whose rules for the same
			// port, left over by another program, would otherwise win.
			name: chainPrerouting, kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookPrerouting, priority: -101, rules: preroutingRules(),
		},
		{
			name: chainOutput, kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookOutput, priority: -101, rules: outputRules(),
		},
		{
			// Before iptables' FORWARD (0), which accepts what we marked.
			name: chainForward, kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookForward, priority: -5, rules: forwardRules(),
		},
		{
			name: chainPostrouting, kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookPostrouting, priority: 99, rules: postroutingRules(),
		},
		{
			// After address translation, which looks at the mark.
			name: chainUnmark, kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookPostrouting, priority: 300,
			rules: []rule{newRule(marked(markAccept|markHairpin), clearMark(markAccept|markHairpin))},
		},
		resolverChain(),
	}, tunnelChains())
}

// forwardRules judge what goes from one device to another. With br_netfilter that
// includes what goes from one port of a bridge to another.
func forwardRules() []rule {
	return []rule{
		newRule(smuggled(ipv4(), setVTEPs4), count(), drop()),
		newRule(smuggled(ipv6(), setVTEPs6), count(), drop()),
		newRule(iif("!=", setBridges), oif("!=", setBridges), accept()),
		newRule(sameDevice(), goTo(chainSame)),
		newRule(iif("", setInternal), count(), drop()),
		newRule(oif("", setInternal), count(), drop()),
		newRule(established(), goTo(chainPass)),
		newRule(translated(), goTo(chainPass)),
		newRule(oif("", setBridges), goTo(chainEntry)),
		newRule(oif("", setEngine), count(), drop()),
		newRule(goTo(chainPass)),
	}
}

// passRules let pass what goes on to iptables' FORWARD.
func passRules() []rule {
	return []rule{
		// Whether it may leave where it comes from is for the engine to say, which has
		// internal networks too: accepted before its rules it would be out of one.
		newRule(iif("", setEngine), count(), accept()),
		newRule(setMark(markAccept), count(), accept()),
	}
}

// sameNetworkRules judge what stays in one network.
func sameNetworkRules() []rule {
	return []rule{
		newRule(translated(), setMark(markHairpin), goTo(chainPass)),
		newRule(iif("", setICC), goTo(chainPass)),
		newRule(established(), goTo(chainPass)),
		newRule(count(), drop()),
	}
}

// loopbackRules close what the driver opens when it sets route_localnet on a
// bridge, so that a port can be reached as 127.0.0.1 from the host: without them a
// container could send to services of the host that listen on loopback only, or
// pretend to be one. IPv6 has no such switch, and the
// kernel drops ::1 from a wire by itself.
//
// What goes from port to port of a network that the host takes no part in needs no
// connection tracking, where br_netfilter sends it here: nothing there is translated,
// and no rule of ours asks for its state.
func loopbackRules() []rule {
	v4 := ipv4()
	return []rule{
		newRule(iif("!=", setBridges), accept()), // one look-up for all that others get
		newRule(iif("", setSealed), untracked()),
		newRule(v4.is(), v4.toLoopback(), count(), drop()),
		newRule(v4.is(), v4.fromLoopback(), count(), drop()),
	}
}

// preroutingRules send what comes from outside, or from a container, to published
// ports. A packet to 127.0.0.0/8 has no business on a wire: translated here, before
// the kernel would drop it, it would reach a port that is for the host alone.
func preroutingRules() []rule {
	v4, v6 := ipv4(), ipv6()
	return []rule{
		newRule(v4.is(), v4.notToLoopback(), v4.toPublished()),
		newRule(v6.is(), v6.toPublished()),
		newRule(v4.is(), v4.notToLoopback(), toThisHost(), v4.toPublishedAnywhere()),
		newRule(v6.isShown(), toThisHost(), v6.toPublishedAnywhere()),
	}
}

// outputRules do the same for what the host itself sends. Not to ::1: the answers
// could not come back, since IPv6 has nothing like route_localnet, and a client that
// is refused goes on to 127.0.0.1 at once.
func outputRules() []rule {
	v4, v6 := ipv4(), ipv6()
	return []rule{
		newRule(v4.is(), v4.toPublished()),
		newRule(v6.is(), v6.toPublished()),
		newRule(v4.isShown(), toThisHost(), v4.toPublishedAnywhere()),
		newRule(v6.is(), v6.notToLoopback(), toThisHost(), v6.toPublishedAnywhere()),
	}
}

// postroutingRules give packets a source that their answers come back to.
func postroutingRules() []rule {
	v4, v6 := ipv4(), ipv6()
	return []rule{
		// To the container at the other end it would look as if its neighbour had
		// spoken, which it answers directly, past the translation.
		newRule(marked(markHairpin), masquerade()),
		newRule(v4.is(), v4.fromLoopback(), oif("", setBridges), masquerade()),
		newRule(v4.is(), v4.fromSubnet(v4.masq), oif("!=", setBridges), masquerade()),
		newRule(v6.is(), v6.fromSubnet(v6.masq), oif("!=", setBridges), masquerade()),
		newRule(oif("!=", setBridges), v4.is(), v4.fromSource()),
		newRule(oif("!=", setBridges), v6.is(), v6.fromSource()),
	}
}
