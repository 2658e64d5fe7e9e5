package engine

import (
	"strings"
	"testing"
)

func TestPluginID_isInThePropagatedMountsSource(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, tc := range []struct{ name, mountinfo, want string }{
		{"managed", "36 35 98:0 / / rw - ext4 /dev/a rw\n" +
			"37 35 98:0 /var/lib/docker/plugins/" + id + "/propagated-mount /var/lib/ournet rw shared:1 - ext4 /dev/a rw\n", id},
		{"data root on a file system of its own", "37 35 98:0 /plugins/" + id + "/propagated-mount /var/lib/ournet rw - ext4 /dev/a rw\n", id},
		{"mount of another folder", "37 35 98:0 /srv/ournet /var/lib/ournet rw - ext4 /dev/a rw\n", ""},
		{"no id", "37 35 98:0 /plugins/abc/propagated-mount /var/lib/ournet rw - ext4 /dev/a rw\n", ""},
		{"mounted elsewhere", "37 35 98:0 /plugins/" + id + "/propagated-mount /data rw - ext4 /dev/a rw\n", ""},
		{"garbage", "37 35\n\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := PluginID(strings.NewReader(tc.mountinfo), "/var/lib/ournet")
			if err != nil || got != tc.want {
				t.Errorf("PluginID = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestRuns_onlyTheEngineThatListsThePlugin(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.bodies["/plugins"] = `[{"Id":"` + idA + `","Name":"ournet/ournet:latest","Enabled":true}]`
	e.start()
	for id, want := range map[string]bool{idA: true, idB: false} {
		got, err := e.client().Runs(t.Context(), id)
		if err != nil || got != want {
			t.Errorf("Runs(%.8s) = %v, %v, want %v", id, got, err, want)
		}
	}
}
