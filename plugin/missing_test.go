package plugin

import (
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
)

func TestMissing_recordIsDeadOnlyAfterTheGraceWithoutABreak(t *testing.T) {
	t.Parallel()
	n := driver.NetworkID(strings.Repeat("a", 64))
	ep := driver.Endpoint{ID: driver.EndpointID(strings.Repeat("b", 64)), Network: n}
	records := []driver.Attached{{Network: driver.Network{ID: n}, Endpoints: []driver.Endpoint{ep}}}
	known := map[string]engine.Network{string(n): {Endpoints: map[string]bool{string(ep.ID): true}}}
	empty := map[string]engine.Network{string(n): {}}
	nothing := map[string]engine.Network{}

	start := time.Unix(0, 0)
	for _, tc := range []struct {
		name      string
		views     []map[string]engine.Network // one each half grace
		networks  int
		endpoints int
	}{
		{"known", []map[string]engine.Network{known, known, known}, 0, 0},
		{"network missing for half the grace", []map[string]engine.Network{nothing, nothing}, 0, 0},
		{"network missing for the grace", []map[string]engine.Network{nothing, nothing, nothing}, 1, 0},
		{"endpoint missing for the grace", []map[string]engine.Network{empty, empty, empty}, 0, 1},
		{"back in between", []map[string]engine.Network{empty, known, empty, empty}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var (
				m    missing
				last dead
			)
			for i, view := range tc.views {
				last = m.judge(records, view, start.Add(time.Duration(i)*missingGrace/2))
			}
			if len(last.networks) != tc.networks || len(last.endpoints) != tc.endpoints {
				t.Errorf("judge = %d networks, %d endpoints, want %d, %d",
					len(last.networks), len(last.endpoints), tc.networks, tc.endpoints)
			}
		})
	}
}
