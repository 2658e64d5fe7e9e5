package firewall

import (
	"slices"
	"strings"
	"testing"
)

const (
	jump    = "-A FORWARD -j OURNET-FORWARD"
	another = "-A FORWARD -m mark --mark 0x8000000/0x8000000 -j OURNET-FORWARD"
	toUser  = "-A FORWARD -j DOCKER-USER"
	toStage = "-A FORWARD -j DOCKER-ISOLATION-STAGE-1"
	dropped = "-A FORWARD -i eth0 -j DROP"
)

// standsWell reports whether iptables' listing has one jump, where it belongs.
func standsWell(listing string) bool {
	rules := slices.DeleteFunc(strings.Split(listing, "\n"), func(r string) bool { return !strings.HasPrefix(r, "-A FORWARD") })
	return nextStep(rules, "OURNET-FORWARD", map[string]bool{toStage: true}, noForm) == jumpStep{}
}

func TestNextStep_comesToOneJumpBehindTheAdministratorsRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		rules []string
		want  []string
	}{
		{"empty", nil, []string{jump}},
		{"alone", []string{jump}, []string{jump}},
		{"alone in the other form", []string{another}, []string{another}},
		{"before others", []string{jump, dropped}, []string{jump, dropped}},
		{"missing", []string{dropped}, []string{jump, dropped}},
		{"missing behind DOCKER-USER", []string{toUser, dropped}, []string{toUser, jump, dropped}},
		{"behind DOCKER-USER", []string{toUser, jump, dropped}, []string{toUser, jump, dropped}},
		{"before DOCKER-USER", []string{jump, toUser, dropped}, []string{toUser, another, dropped}},
		{"behind another's drop", []string{dropped, jump}, []string{another, dropped}},
		{"the other form behind a drop", []string{dropped, another}, []string{jump, dropped}},
		{"behind a drop and DOCKER-USER", []string{toUser, dropped, jump}, []string{toUser, another, dropped}},
		{"behind the engine's jumps", []string{toUser, toStage, jump}, []string{toUser, toStage, jump}},
		{"behind the engine's jumps without DOCKER-USER", []string{toStage, jump}, []string{toStage, jump}},
		{"behind the engine's accept", []string{toUser, "-A FORWARD -o docker0 -j DOCKER", jump}, []string{toUser, another, "-A FORWARD -o docker0 -j DOCKER"}},
		{"DOCKER-USER not first", []string{dropped, toUser, jump}, []string{dropped, toUser, jump}},
		{"twice", []string{toUser, jump, jump, dropped, jump}, []string{toUser, another, dropped}},
		{"in both forms", []string{another, jump}, []string{another}},
		{"twice, none well", []string{jump, toUser, dropped, jump}, []string{toUser, another, dropped}},
		{"in both forms, none well", []string{jump, another, toUser, dropped, another}, []string{toUser, another, dropped}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rules := slices.Clone(tc.rules)
			had := slices.ContainsFunc(rules, isJump)
			placed := noForm
			for range jumpSteps {
				step := nextStep(rules, "OURNET-FORWARD", map[string]bool{toStage: true}, placed)
				spec := listed(jumpForms("OURNET-FORWARD")[step.form])
				switch {
				case step.insertAt > 0:
					rules, placed = slices.Insert(rules, step.insertAt-1, spec), step.form
				case step.remove:
					rules = slices.Delete(rules, slices.Index(rules, spec), slices.Index(rules, spec)+1)
				}
				if had && !slices.ContainsFunc(rules, isJump) {
					t.Error("there is no jump in between")
				}
			}
			if !slices.Equal(rules, tc.want) {
				t.Errorf("the rules are %q, want %q", rules, tc.want)
			}
		})
	}
}

// Who puts rules first again and again has ours moved once, not for ever.
func TestNextStep_movesOnce(t *testing.T) {
	t.Parallel()
	step := nextStep([]string{dropped, another, jump}, "OURNET-FORWARD", nil, 1)
	if want := (jumpStep{form: 0, remove: true}); step != want {
		t.Errorf("the next step is %+v, want %+v", step, want)
	}
	if step := nextStep([]string{dropped, another}, "OURNET-FORWARD", nil, 1); step != (jumpStep{}) {
		t.Errorf("the next step is %+v, want none", step)
	}
}

func isJump(rule string) bool { return rule == jump || rule == another }
