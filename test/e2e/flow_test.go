package e2e

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// flowLength is longer than a plugin takes to come back.
const flowLength = "4s"

// flow is a running `probe flow`.
type flow struct{ *lab.Running }

// startFlows starts a flow of numbered messages, one per millisecond, between the
// containers and from the outside to the published port, and returns when all of
// them are established.
func (s *shop) startFlows() map[string]flow {
	s.h.Helper()
	probe, err := s.h.lab.Probe(s.h.ctx)
	if err != nil {
		s.h.Fatal(err)
	}
	flows := map[string]flow{}
	for _, protocol := range []string{"tcp", "udp"} {
		within, err := s.h.StartDocker(s.h.ctx, "exec", "client", "probe", "flow", protocol, "keeper:6379", "-for", flowLength)
		if err != nil {
			s.h.Fatal(err)
		}
		flows["between containers by "+protocol] = flow{within}
		in, err := s.h.lab.Outside.Start(s.h.ctx, probe, "flow", protocol, s.published(), "-for", flowLength)
		if err != nil {
			s.h.Fatal(err)
		}
		flows["to the published port by "+protocol] = flow{in}
	}
	for name, f := range flows {
		err := lab.Poll(s.h.ctx, "the flow "+name, func() error {
			if !strings.Contains(f.Output(), "connected") {
				return errors.New(f.Output())
			}
			return nil
		})
		if err != nil {
			s.h.Fatal(err)
		}
	}
	return flows
}

// assertWhole waits for the flow's end and asserts that nothing was lost.
func (f flow) assertWhole(h *host, name string) {
	h.Helper()
	out, err := f.Wait()
	if err != nil {
		h.Errorf("flow %s: %v", name, err)
		return
	}
	var report struct {
		Sent, Received, Lost, Duplicates int
		MaxGapMS                         int `json:"max_gap_ms"`
		Error                            string
	}
	text := strings.TrimPrefix(out, "connected\n")
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		h.Errorf("flow %s printed %q: %v", name, out, err)
		return
	}
	h.Logf("flow %s: %s", name, strings.TrimSpace(text))
	if report.Error != "" || report.Sent < 1000 || report.Lost != 0 || report.Duplicates != 0 {
		h.Errorf("flow %s: %+v, want at least 1000 messages and none lost", name, report)
	}
}
