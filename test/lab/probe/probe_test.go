package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// startServer serves both protocols on one free port of the loopback interface and
// returns the address.
func startServer(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c, err := listenPacket(ctx, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() }) // ends Accept
	var g errgroup.Group
	g.Go(func() error { return serveStreams(ctx, l, echo) })
	g.Go(func() error { return serveDatagrams(ctx, c) })
	t.Cleanup(func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func TestWho_printsTheCallersAddress(t *testing.T) {
	t.Parallel()
	address := startServer(t)
	for _, protocol := range []string{"tcp", "udp"} {
		var out bytes.Buffer
		if err := probe(t.Context(), []string{"who", protocol, address}, &out); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if !strings.HasPrefix(out.String(), "127.0.0.1:") {
			t.Errorf("%s: it printed %q, want 127.0.0.1:PORT", protocol, out.String())
		}
	}
}

func TestFlow_countsEveryMessage(t *testing.T) {
	t.Parallel()
	address := startServer(t)
	for _, protocol := range []string{"tcp", "udp"} {
		var out bytes.Buffer
		if err := probe(t.Context(), []string{"flow", protocol, address, "-for", "200ms"}, &out); err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		var r report
		if err := json.Unmarshal([]byte(strings.TrimPrefix(out.String(), "connected\n")), &r); err != nil {
			t.Fatalf("%s: it printed %q: %v", protocol, out.String(), err)
		}
		if r.Error != "" || r.Sent == 0 || r.Sent != r.Received || r.Lost != 0 || r.Duplicates != 0 {
			t.Errorf("%s: %+v, want all that was sent and nothing twice", protocol, r)
		}
	}
}

func TestCounter_seesLossDuplicatesAndOrder(t *testing.T) {
	t.Parallel()
	var c counter
	message := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	answers := &script{messages: [][]byte{message(0), message(2), message(2), message(1)}}
	if err := c.read(answers); err != nil {
		t.Fatal(err)
	}
	if c.received.Load() != 3 || c.duplicates != 1 || c.reordered != 1 {
		t.Errorf("it counts %d received, %d duplicates, %d reordered, want 3 received, 1 duplicate, 1 reordered", c.received.Load(), c.duplicates, c.reordered)
	}
}

// script is a connection that yields messages and is closed then.
type script struct{ messages [][]byte }

func (s *script) Read(p []byte) (int, error) {
	if len(s.messages) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p, s.messages[0])
	s.messages = s.messages[1:]
	return n, nil
}

func TestAnswerQuery_knowsOneName(t *testing.T) {
	t.Parallel()
	const a, aaaa = 1, 28
	query := func(name string, kind byte) []byte {
		q := []byte{0xab, 0xcd, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0}
		for label := range strings.SplitSeq(name, ".") {
			q = append(append(q, byte(len(label))), label...)
		}
		return append(q, 0, 0, kind, 0, 1)
	}
	for _, tc := range []struct {
		name    string
		query   []byte
		rcode   byte
		answers byte
	}{
		{"the name", query("Outside.example", a), 0, 1},
		{"another family", query("outside.example", aaaa), 0, 0},
		{"another name", query("inside.example", a), 3, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := answerQuery(tc.query, "outside.example", [4]byte{10, 99, 0, 254})
			if len(got) < headerSize || !bytes.Equal(got[:2], tc.query[:2]) || got[3]&0x0f != tc.rcode || got[7] != tc.answers {
				t.Errorf("answer % x, want rcode %d and %d records", got, tc.rcode, tc.answers)
			}
		})
	}
	if got := answerQuery([]byte("short"), "outside.example", [4]byte{}); got != nil {
		t.Errorf("it answers what is no query: % x", got)
	}
}

func FuzzAnswerQuery(f *testing.F) {
	f.Add([]byte{0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, query []byte) {
		if got := answerQuery(query, "a", [4]byte{}); got != nil && !bytes.Equal(got[:2], query[:2]) {
			t.Errorf("the answer has another id than the query")
		}
	})
}

func TestQuery_saysWhyThereIsNoAnswer(t *testing.T) {
	t.Parallel()
	// Nobody answers DNS on this address of a machine that is no container.
	var out bytes.Buffer
	if err := query(t.Context(), []string{"web.lab"}, &out); err != nil {
		t.Fatal(err)
	}
	if words := strings.Fields(out.String()); len(words) != 2 || words[1] != "refused" {
		t.Errorf("query prints %q, want a time and that it was refused", out.String())
	}
	if err := query(t.Context(), []string{strings.Repeat("x", 300)}, &out); err != nil || !strings.Contains(out.String(), "name") {
		t.Errorf("query of a name that is too long = %v, and prints %q", err, out.String())
	}
	if err := query(t.Context(), nil, &out); err == nil {
		t.Error("query of nothing succeeded")
	}
}

func TestAwaitName_takesAnAnswerAndNothingElse(t *testing.T) {
	t.Parallel()
	query, err := question4("outside.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		answer []byte
		want   bool
	}{
		{answerQuery(query, "outside.example", [4]byte{10, 99, 0, 254}), true},
		{answerQuery(query, "inside.example", [4]byte{10, 99, 0, 254}), false},
		{query, false},
		{nil, false},
	} {
		if got := hasAnswer(tc.answer); got != tc.want {
			t.Errorf("hasAnswer(% x) = %t, want %t", tc.answer, got, tc.want)
		}
	}
}
