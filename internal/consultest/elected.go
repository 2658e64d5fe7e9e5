package consultest

import (
	"fmt"
	"os"
	"regexp"
	"time"
)

// won matches what a server logs when it has become the leader, in UTC
// (github.com/hashicorp/raft, raft.go, runCandidate).
var won = regexp.MustCompile(`(?m)^(\S+Z) .*raft: election won`)

// Elected returns when a server became the leader last, by the servers' logs. It is the
// zero time if none ever did.
func (c *Cluster) Elected() (time.Time, error) {
	var last time.Time
	for _, s := range c.Servers {
		text, err := os.ReadFile(s.logFile())
		if err != nil {
			return time.Time{}, fmt.Errorf("read the log of consul at %s: %w", s.Address, err)
		}
		for _, line := range won.FindAllSubmatch(text, -1) {
			at, err := time.Parse(time.RFC3339Nano, string(line[1]))
			if err != nil {
				return time.Time{}, fmt.Errorf("read the log of consul at %s: %w", s.Address, err)
			}
			if at.After(last) {
				last = at
			}
		}
	}
	return last, nil
}
