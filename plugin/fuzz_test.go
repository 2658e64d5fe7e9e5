package plugin

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"
)

// FuzzRoute sends any body to any verb: each answers in time, with a JSON object,
// and with an error if and only if the status says so.
func FuzzRoute(f *testing.F) {
	verbs := slices.Sorted(maps.Keys(newStack(f).paths))
	for _, engine := range engines() {
		for _, r := range recordings(f, engine) {
			f.Add(uint8(slices.Index(verbs, r.Path)), []byte(r.Body))
		}
	}
	for i := range verbs {
		verb := uint8(i)
		f.Add(verb, []byte(networkBody(testNetwork)))
		f.Add(verb, []byte(endpointBody(testEndpoint, `"Address":"10.9.0.2/24","AddressIPv6":"fd09::2/64"`, "")))
		f.Add(verb, []byte(`{"PoolID":"ournet-host/10.9.0.0/24","Address":"10.9.0.2"}`))
		f.Add(verb, []byte(`null`))
	}
	f.Fuzz(func(t *testing.T, verb uint8, body []byte) {
		s := populated(t)
		path := verbs[int(verb)%len(verbs)]
		began := time.Now()
		a := s.ask(t, path, string(body))
		if took := time.Since(began); took > verbDeadline {
			t.Errorf("%s took %s", path, took)
		}
		var reply map[string]any
		if err := json.Unmarshal([]byte(a.Body), &reply); err != nil {
			t.Fatalf("%s %q = %q, not a JSON object: %v", path, body, a.Body, err)
		}
		if text, isErr := reply["Err"].(string); isErr == (a.Status == http.StatusOK) || (isErr && text == "") {
			t.Errorf("%s %q = %d %s, status and reply disagree", path, body, a.Status, a.Body)
		}
	})
}
