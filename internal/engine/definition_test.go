package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// definitionList is what engines write: the first network is 29's, the second 20.10's,
// whose gateways have a prefix length, the third is another program's.
const definitionList = `[
	{"Id":"n29","Name":"lab","Driver":"ournet","EnableIPv4":false,"EnableIPv6":true,"Attachable":true,"Internal":true,
	 "Labels":{"com.docker.compose.network":"lab"},"Options":{"type":"overlay"},
	 "IPAM":{"Driver":"ournet","Options":{"a":"b"},"Config":[{"Subnet":"fd00::/64","IPRange":"fd00::8000/113","Gateway":"fd00::1","AuxiliaryAddresses":{"router":"fd00::2"}}]}},
	{"Id":"n20","Name":"old","Driver":"ournet:latest","IPAM":{"Driver":"ournet","Config":[{"Subnet":"10.1.0.0/24","Gateway":"10.1.0.1/24"}]}},
	{"Id":"nx","Name":"odd","Driver":"other","IPAM":{"Driver":"default","Config":[{"Subnet":"somewhere"}]}}]`

func definitions() map[string]Defined {
	return map[string]Defined{
		"n29": {ID: "n29", Definition: Definition{
			Name: "lab", Driver: "ournet", IPv6: true, Attachable: true, Internal: true,
			Labels: map[string]string{"com.docker.compose.network": "lab"}, Options: map[string]string{"type": "overlay"},
			IPAM: IPAM{Driver: "ournet", Options: map[string]string{"a": "b"}, Subnets: []Subnet{{
				Subnet: netip.MustParsePrefix("fd00::/64"), Range: netip.MustParsePrefix("fd00::8000/113"), Gateway: netip.MustParseAddr("fd00::1"),
				Aux: map[string]netip.Addr{"router": netip.MustParseAddr("fd00::2")},
			}}},
		}},
		"n20": {ID: "n20", Definition: Definition{
			Name: "old", Driver: "ournet:latest", IPv4: true,
			IPAM: IPAM{Driver: "ournet", Subnets: []Subnet{{Subnet: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")}}},
		}},
		"nx": {ID: "nx", Definition: Definition{Name: "odd", Driver: "other", IPv4: true, IPAM: IPAM{Driver: "default", Subnets: []Subnet{{}}}}},
	}
}

func TestDefinitions_readsWhatEnginesWrite(t *testing.T) {
	t.Parallel()
	e := newFakeEngine(t, "1.41")
	e.bodies["/networks"] = definitionList
	e.start()
	got, err := e.client().Definitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(definitions(), got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("Definitions (-want +got):\n%s", diff)
	}
}

// What one engine's list says makes the same network on another.
func TestEncode_isReadBackAsItWas(t *testing.T) {
	t.Parallel()
	for id, d := range definitions() {
		raw, err := json.Marshal(encode(d.Definition))
		if err != nil {
			t.Fatal(err)
		}
		var back apiDefinition
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if !back.CheckDuplicate {
			t.Error("engines before 25 are not asked to refuse a name that is taken")
		}
		if diff := cmp.Diff(d.Definition, back.definition(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-is +read back):\n%s", id, diff)
		}
	}
}

// answering makes the engine answer a request for a path.
func answering(t *testing.T, method, path string, status int, body string) *Client {
	t.Helper()
	e := newFakeEngine(t, "1.41")
	e.answers = map[string]http.HandlerFunc{path: func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			t.Errorf("asked %s %s, want %s", r.Method, path, method)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a broken connection is the client's to report
	}}
	e.start()
	return e.client()
}

func TestCreateNetwork_tellsATakenNameFromOtherTrouble(t *testing.T) {
	t.Parallel()
	create := func(status int, body string) (string, error) {
		return answering(t, http.MethodPost, "/networks/create", status, body).CreateNetwork(context.Background(), Definition{Name: "lab"})
	}
	if id, err := create(http.StatusCreated, `{"Id":"n1","Warning":""}`); err != nil || id != "n1" {
		t.Errorf("CreateNetwork = %q, %v, want n1", id, err)
	}
	if _, err := create(http.StatusConflict, `{"message":"network with name lab already exists"}`); !errors.Is(err, ErrNameTaken) {
		t.Errorf("CreateNetwork = %v, want ErrNameTaken", err)
	}
	_, err := create(http.StatusInternalServerError, `{"message":"remote: no address left"}`)
	if want := "make network lab: ask the engine for /networks/create: 500 Internal Server Error: remote: no address left"; err == nil || err.Error() != want {
		t.Errorf("CreateNetwork = %v, want %s", err, want)
	}
}

func TestRemoveNetwork_tellsEndpointsFromOtherTrouble(t *testing.T) {
	t.Parallel()
	remove := func(status int) error {
		return answering(t, http.MethodDelete, "/networks/n1", status, `{"message":"x"}`).RemoveNetwork(context.Background(), "n1")
	}
	for _, status := range []int{http.StatusOK, http.StatusNoContent, http.StatusNotFound} {
		if err := remove(status); err != nil {
			t.Errorf("RemoveNetwork answered with %d = %v, want success", status, err)
		}
	}
	for _, status := range []int{http.StatusForbidden, http.StatusConflict} {
		if err := remove(status); !errors.Is(err, ErrAttached) {
			t.Errorf("RemoveNetwork answered with %d = %v, want ErrAttached", status, err)
		}
	}
	if err := remove(http.StatusInternalServerError); err == nil || errors.Is(err, ErrAttached) {
		t.Errorf("RemoveNetwork answered with 500 = %v, want another error", err)
	}
}

func TestNamesUnique_sinceEngine25(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"1.41": false, "1.43": false, "1.44": true, "1.51": true} {
		e := newFakeEngine(t, version)
		e.start()
		if got, err := e.client().NamesUnique(t.Context()); err != nil || got != want {
			t.Errorf("API %s: NamesUnique = %t, %v, want %t", version, got, err, want)
		}
	}
}
