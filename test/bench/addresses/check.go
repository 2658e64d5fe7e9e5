package main

import (
	"fmt"
	"net/netip"
	"sync"
)

// checker knows who has which address, and finds one that two have.
type checker struct {
	mu      sync.Mutex // guards all below
	holders map[netip.Addr]string
	gotten  int
	twice   []string
}

func newChecker() *checker { return &checker{holders: make(map[netip.Addr]string)} }

// take notes that somebody was given an address.
func (c *checker) take(a netip.Addr, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gotten++
	if other, taken := c.holders[a]; taken {
		c.twice = append(c.twice, fmt.Sprintf("%s was given to %s while %s had it", a, who, other))
	}
	c.holders[a] = who
}

// give notes that an address is about to be given back: from now on it may be
// anybody's.
func (c *checker) give(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.holders, a)
}

// result returns how many addresses were given, and which were given twice.
func (c *checker) result() (gotten int, twice []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gotten, c.twice
}
