package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is where a container asks.
const resolver = "127.0.0.11:53"

// query asks a server, the container's resolver unless -server says another, for the
// addresses of a name, once, with -every again and again, each time
// from a new socket. It prints the milliseconds since its start and the answer,
// whenever that differs from the one before.
func query(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	every := flags.Duration("every", 0, "`time` between two queries; 0 for one query")
	server := flags.String("server", resolver, "`address` of the name server")
	length := flags.Duration("for", time.Minute, "`time` to go on for")
	// Longer than loopback needs, and shorter than an outage that matters.
	patience := flags.Duration("patience", 500*time.Millisecond, "`time` to wait for an answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("query: want a name")
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	last := ""
	for {
		if answer := askAddresses(*server, flags.Arg(0), *patience); answer != last {
			last = answer
			if _, err := fmt.Fprintln(out, time.Since(begin).Milliseconds(), answer); err != nil {
				return err
			}
		}
		if *every == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			_, err := fmt.Fprintln(out, time.Since(begin).Milliseconds(), "end")
			return err
		case <-time.After(*every):
		}
	}
}

// askAddresses returns the answer to one query: the code, the TTL and the addresses, or why
// there is none.
func askAddresses(server, name string, patience time.Duration) string {
	q, err := question4(name)
	if err != nil {
		return err.Error()
	}
	conn, err := net.DialTimeout("udp", server, patience)
	if err != nil {
		return "unreachable"
	}
	defer conn.Close() //nolint:errcheck // a datagram socket
	buf := make([]byte, 4096)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err.Error()
	}
	if _, err := conn.Write(q); err != nil {
		return "refused"
	}
	n, err := conn.Read(buf)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case err != nil:
		return "silence"
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil {
		return "unreadable"
	}
	words := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for i, rr := range m.Answers {
		if a, ok := rr.Body.(*dnsmessage.AResource); ok {
			if i == 0 {
				words = append(words, strconv.FormatUint(uint64(rr.Header.TTL), 10))
			}
			words = append(words, netip.AddrFrom4(a.A).String())
		}
	}
	return strings.Join(words, " ")
}

// question4 is a query for IPv4 addresses.
func question4(name string) ([]byte, error) {
	fqdn, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("query: name %q: %w", name, err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: fqdn, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}
