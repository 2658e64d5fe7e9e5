package main

import (
	"errors"
	"syscall"
)

// isRefused reports whether err is an ICMP error that came back to a datagram
// socket, which goes on working after it.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}
