package engine

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

func TestContainers_listsThemByTheirOwnNames(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, version)
			e.bodies["/containers/json"] = `[{"Id":"` + idA + `","Names":["/web/db","/db"]},{"Id":"` + idB + `","Names":["/web"]}]`
			e.start()
			got, err := e.client().Containers(t.Context())
			if err != nil {
				t.Fatalf("Containers: %v", err)
			}
			if diff := cmp.Diff([]Container{{idA, "db"}, {idB, "web"}}, got); diff != "" {
				t.Errorf("Containers (-want +got):\n%s", diff)
			}
		})
	}
}

// Not parallel: it sets the environment.
func TestForUser_asksTheEngineOfDOCKERHOSTUnlessToldOtherwise(t *testing.T) {
	one, two := newFakeEngine(t, "1.41"), newFakeEngine(t, "1.56")
	one.bodies["/containers/json"] = `[{"Id":"` + idA + `","Names":["/one"]}]`
	two.bodies["/containers/json"] = `[{"Id":"` + idB + `","Names":["/two"]}]`
	one.start()
	two.start()
	address := func(e *fakeEngine) string { return "unix://" + filepath.Join(e.root, socketPath) }
	t.Setenv("DOCKER_HOST", address(one))
	t.Setenv("DOCKER_API_VERSION", "")
	for _, tc := range []struct{ host, want string }{{"", "one"}, {address(two), "two"}} {
		got, err := ForUser(tc.host, logrus.New()).Containers(t.Context())
		if err != nil || len(got) != 1 || got[0].Name != tc.want {
			t.Errorf("ForUser(%q) lists %v, %v, want the container %s", tc.host, got, err, tc.want)
		}
	}
}
