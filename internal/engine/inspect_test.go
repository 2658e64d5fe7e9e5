package engine

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestInspect_readsNamesOfOldAndNewEngines(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine(t, version)
			e.bodies["/containers/c9/json"] = `{"Id":"` + idC + `","Name":"/db","Config":{"Hostname":"db-1"},"NetworkSettings":{"Networks":{
				"lab":{"NetworkID":"` + idA + `","EndpointID":"` + ep1 + `","Aliases":["postgres","cccccccccccc"],
					"Links":["web:front","other"],"GwPriority":7,"DNSNames":["db"]},
				"six":{"NetworkID":"` + idC + `","EndpointID":"` + ep1 + `","GlobalIPv6Address":"fd00::2"},
				"bridge":{"NetworkID":"` + idB + `","EndpointID":"","Aliases":null,"Links":null}}}}`
			e.start()
			got, err := e.client().Inspect(t.Context(), "c9")
			if err != nil {
				t.Fatal(err)
			}
			want := Inspection{ID: idC, Name: "db", Hostname: "db-1", Attachments: []Attachment{
				{Network: idC, Endpoint: ep1},
				{
					Network: idA, Endpoint: ep1, Aliases: []string{"postgres", "cccccccccccc"}, Priority: 7, NoIPv6: true,
					Links: []Link{{Target: "web", Alias: "front"}, {Target: "other", Alias: "other"}},
				},
				{Network: idB},
			}}
			byNetwork := cmpopts.SortSlices(func(a, b Attachment) bool { return a.Network < b.Network })
			if diff := cmp.Diff(want, got, byNetwork); diff != "" {
				t.Errorf("Inspect (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInspect_ofWhatIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.start()
	if _, err := e.client().Inspect(t.Context(), "c9"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Inspect = %v, want ErrNotFound", err)
	}
	if _, err := e.client().Network(t.Context(), idA); !errors.Is(err, ErrNotFound) {
		t.Errorf("Network = %v, want ErrNotFound", err)
	}
}

func TestNetwork_isOneOfNetworks(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.bodies["/networks"] = `[{"Id":"` + idA + `","Name":"lab","Driver":"ournet"}]`
	e.bodies["/networks/"+idA] = `{"Id":"` + idA + `","Name":"lab","Driver":"ournet","Containers":{"c9":{"Name":"db","EndpointID":"` + ep1 + `"}}}`
	e.start()
	all, err := e.client().Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one, err := e.client().Network(t.Context(), idA)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[idA], one); diff != "" {
		t.Errorf("Network (-of Networks +got):\n%s", diff)
	}
}

// It is of interest whatever the container's networks are: ours is not named.
func TestWatch_hearsOfContainersThatAreRenamed(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.56")
	e.start()
	heard := watch(t, e.client())
	expect(t, heard, Event{Kind: Resync})
	for _, line := range []string{
		`{"Type":"container","Action":"create","Actor":{"ID":"c8","Attributes":{"name":"x"}}}`,
		`{"Type":"container","Action":"rename","Actor":{"ID":"c9","Attributes":{"name":"y","oldName":"/x"}}}`,
	} {
		e.events <- line
	}
	expect(t, heard, Event{Kind: Renamed, Container: "c9"})
}
