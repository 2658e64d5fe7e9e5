package dns

import (
	"net/netip"
	"sync"
)

// quota is how much of something each of those may have who share one service.
type quota struct {
	most int

	mu   sync.Mutex // guards used
	used map[netip.Addr]int
}

func newQuota(most int) *quota { return &quota{most: most, used: make(map[netip.Addr]int)} }

// take takes one for somebody, and reports false if he has all that he may have.
func (q *quota) take(who netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used[who] >= q.most {
		return false
	}
	q.used[who]++
	return true
}

// give gives it back.
func (q *quota) give(who netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used[who]--; q.used[who] <= 0 {
		delete(q.used, who)
	}
}
