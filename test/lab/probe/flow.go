package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// report is what a flow prints at its end.
type report struct {
	Sent       int    `json:"sent"`
	Received   int    `json:"received"`
	Lost       int    `json:"lost"`
	Duplicates int    `json:"duplicates"`
	Reordered  int    `json:"reordered"`
	MaxGapMS   int    `json:"max_gap_ms"` // longest time between two answers
	Error      string `json:"error,omitempty"`
}

// messageSize is that of one message: its number, big endian.
const messageSize = 8

const (
	// linger is how long answers are waited for in any case: there may be one too many.
	linger = 500 * time.Millisecond
	// drain is how long the last answers are waited for at most.
	drain = 10 * time.Second
	// drainEvery is how often it is looked whether they are there.
	drainEvery = 10 * time.Millisecond
)

// flow sends numbered messages over one connection until ctx or its time ends.
func flow(ctx context.Context, args []string, out io.Writer) error {
	if len(args) < 2 {
		return errors.New("flow: want a protocol and an address")
	}
	flags := flag.NewFlagSet("flow", flag.ContinueOnError)
	every := flags.Duration("every", time.Millisecond, "time between two messages")
	length := flags.Duration("for", time.Hour, "how long to send")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	conn, err := connect(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	// Whoever waits for the start of the flow reads this line.
	if _, err := fmt.Fprintln(out, "connected"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	r, err := exchange(ctx, conn, *every)
	if err != nil {
		r.Error = err.Error()
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

// connect returns a connection whose server has answered once.
func connect(ctx context.Context, protocol, address string) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, protocol, address)
	if err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	if protocol != "tcp" {
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return nil, fmt.Errorf("set deadline: %w", err)
		}
		if _, err := ask(conn); err != nil {
			return nil, fmt.Errorf("wait for the first answer: %w", err)
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			return nil, fmt.Errorf("set deadline: %w", err)
		}
		return conn, nil
	}
	buffered := bufio.NewReader(conn)
	if _, err := buffered.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("wait for the first answer: %w", err)
	}
	return &stream{Reader: buffered, Conn: conn}, nil
}

// stream reads through the buffer that the first line was read with.
type stream struct {
	*bufio.Reader
	net.Conn
}

// Read reads one whole message.
func (s *stream) Read(p []byte) (int, error) { return io.ReadFull(s.Reader, p) }

func exchange(ctx context.Context, conn io.ReadWriteCloser, every time.Duration) (report, error) {
	sent := 0
	var seen counter
	var g errgroup.Group
	ended := make(chan struct{})
	g.Go(func() error {
		defer close(ended)
		return seen.read(conn)
	})
	sendErr := send(ctx, conn, every, &sent)
	// The last answers are still on their way.
	<-time.After(linger)
	seen.awaitAll(sent, ended)
	closeErr := conn.Close()
	readErr := g.Wait()
	received := int(seen.received.Load())
	r := report{
		Sent: sent, Received: received, Lost: sent - received,
		Duplicates: seen.duplicates, Reordered: seen.reordered, MaxGapMS: int(seen.maxGap.Milliseconds()),
	}
	return r, errors.Join(sendErr, closeErr, readErr)
}

func send(ctx context.Context, conn io.Writer, every time.Duration, sent *int) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	message := make([]byte, messageSize)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		binary.BigEndian.PutUint64(message, uint64(*sent))
		if _, err := conn.Write(message); err != nil && !isRefused(err) {
			return fmt.Errorf("send: %w", err)
		}
		*sent++
	}
}

// counter counts the answers. But for received, it is read after its reader has ended.
type counter struct {
	received              atomic.Int64
	duplicates, reordered int
	maxGap                time.Duration
}

// awaitAll waits until so many answers have come, or none will: for [drain] at most.
func (c *counter) awaitAll(sent int, ended <-chan struct{}) {
	end := time.After(drain)
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	for int(c.received.Load()) < sent {
		select {
		case <-ended:
			return
		case <-end:
			return
		case <-ticker.C:
		}
	}
}

func (c *counter) read(conn io.Reader) error {
	message := make([]byte, messageSize)
	seen := map[uint64]bool{}
	var next uint64
	last := time.Now()
	for {
		n, err := conn.Read(message)
		switch {
		case isRefused(err):
			continue // an ICMP error; the message counts as lost
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case n != messageSize:
			return fmt.Errorf("receive: a message of %d bytes", n)
		}
		now := time.Now()
		c.maxGap = max(c.maxGap, now.Sub(last))
		last = now
		number := binary.BigEndian.Uint64(message)
		switch {
		case seen[number]:
			c.duplicates++
			continue
		case number < next:
			c.reordered++
		}
		seen[number] = true
		next = max(next, number+1)
		c.received.Add(1)
	}
}
