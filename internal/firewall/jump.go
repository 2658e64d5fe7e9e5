package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// jumpSteps bounds how many changes one look at the jump makes: each is decided by a
// listing of its own, and others may change the chain all the while.
const jumpSteps = 20

// jumpForms are the two forms of the jump to a chain that lets pass what has our mark
// and nothing else, which therefore do the same. With two, a new jump can be put before
// the old one is deleted, and the old one by what it says: by its number it could be
// another's rule by then.
func jumpForms(chain string) [2][]string {
	return [2][]string{{"-j", chain}, append(acceptMark(), "-j", chain)}
}

// listed returns a rule of FORWARD as iptables lists it.
func listed(spec []string) string { return "-A " + forwardChain + " " + strings.Join(spec, " ") }

// formOf returns which of the forms of a jump a listed rule has, or noForm.
func formOf(rule string, forms [2][]string) int {
	return slices.IndexFunc(forms[:], func(form []string) bool { return rule == listed(form) })
}

// placeJump puts the jump to our chain where it belongs, and reports whether it was not
// there.
func (f *forward) placeJump(ipt *iptables.IPTables) (moved bool, err error) {
	placed := noForm
	for range jumpSteps {
		rules, err := listForward(ipt)
		if err != nil {
			return moved, err
		}
		pass, err := passedBy(ipt, rules, f.chain)
		if err != nil {
			return moved, err
		}
		step := nextStep(rules, f.chain, pass, placed)
		if step == (jumpStep{}) {
			return moved, nil
		}
		moved = true
		if err := f.do(ipt, step); err != nil {
			return moved, err
		}
		if step.insertAt > 0 {
			placed = step.form
		}
	}
	return moved, fmt.Errorf("somebody else deletes or adds jumps from %s to %s all the time", forwardChain, f.chain)
}

func (f *forward) do(ipt *iptables.IPTables, step jumpStep) error {
	spec := jumpForms(f.chain)[step.form]
	if step.insertAt > 0 {
		return ipt.Insert(filterTable, forwardChain, step.insertAt, spec...)
	}
	return ipt.DeleteIfExists(filterTable, forwardChain, spec...)
}

// listForward lists the rules of FORWARD, without the policy.
func listForward(ipt *iptables.IPTables) ([]string, error) {
	listing, err := ipt.List(filterTable, forwardChain)
	return slices.DeleteFunc(listing, func(r string) bool { return !strings.HasPrefix(r, "-A ") }), err
}

// passedBy returns those rules that our packets pass by: the jumps to the engine's own
// chains, which leave them alone, and to those of other plugins like this one, which
// do what ours does.
func passedBy(ipt *iptables.IPTables, rules []string, chain string) (map[string]bool, error) {
	pass := map[string]bool{}
	for _, r := range rules {
		_, target, ok := strings.Cut(r, " -j ")
		if !ok || target == chain {
			continue
		}
		if strings.HasPrefix(target, engineChains) {
			pass[r] = r == listed(jumpForms(target)[0])
			continue
		}
		if !strings.HasSuffix(target, chainName("")) || formOf(r, jumpForms(target)) == noForm {
			continue
		}
		ours, err := isOurs(ipt, target)
		if isGone(err) {
			continue // with the plugin whose it was
		}
		if err != nil {
			return nil, err
		}
		pass[r] = ours
	}
	return pass, nil
}

// isGone reports whether iptables failed because a chain is not there.
func isGone(err error) bool {
	var failed *iptables.Error
	return errors.As(err, &failed) && failed.IsNotExist()
}

// noForm is the index of no jump.
const noForm = -1

// jumpStep is one change to FORWARD; the zero value is none.
type jumpStep struct {
	// form is which of [jumpForms] is inserted or deleted.
	form int
	// insertAt is the number that the jump gets, counting from 1.
	insertAt int
	// remove deletes the first jump of the form.
	remove bool
}

// nextStep says what brings the jump nearer to where it stands well: behind
// DOCKER-USER's jump, if there is one, and behind nothing but what our packets pass by.
// The engine puts its chains first again whenever it starts; to be content there keeps
// the two from moving each other about. There is always a jump in between.
//
// placed is the form that was inserted by a step before, or noForm: it stands well, as
// others may put theirs before it faster than it can be moved. The next look sees to that.
func nextStep(rules []string, chain string, pass map[string]bool, placed int) jumpStep {
	forms := jumpForms(chain)
	var count [len(forms)]int
	for _, r := range rules {
		if i := formOf(r, forms); i >= 0 {
			count[i]++
		}
	}
	first := slices.Index(rules, listed(jumpForms(userChain)[0])) + 1 // behind it, or at the start
	good := noForm
	for _, r := range rules[first:] {
		if good = formOf(r, forms); good >= 0 || !pass[r] {
			break
		}
	}
	if placed >= 0 && count[placed] > 0 {
		good = placed
	}
	other := 1 - good
	switch {
	case good >= 0 && count[good] == 1 && count[other] == 0:
		return jumpStep{}
	case good >= 0 && count[other] > 0:
		return jumpStep{form: other, remove: true}
	case good >= 0: // several of one form, of which the first would be deleted
		return jumpStep{form: other, insertAt: first + 1}
	case count[0] == 0:
		return jumpStep{form: 0, insertAt: first + 1}
	case count[1] == 0:
		return jumpStep{form: 1, insertAt: first + 1}
	default:
		return jumpStep{form: 1, remove: true}
	}
}

// removeJumps deletes all jumps to our chain.
func (f *forward) removeJumps(ipt *iptables.IPTables) error {
	rules, err := listForward(ipt)
	if err != nil {
		return err
	}
	forms := jumpForms(f.chain)
	for _, r := range rules {
		if i := formOf(r, forms); i >= 0 {
			if err := ipt.DeleteIfExists(filterTable, forwardChain, forms[i]...); err != nil {
				return err
			}
		}
	}
	return nil
}
