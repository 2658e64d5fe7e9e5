package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// streamEvery is the time between two messages of a stream.
	streamEvery = 2 * time.Millisecond
	// streamWindow is how many messages wait for their answers at most. No queue
	// on the way overflows by so few, however busy the machine is, so that what
	// is lost was lost by the network.
	streamWindow = 16
	// streamPatience is how long the last answers are waited for.
	streamPatience = 10 * time.Second
)

// stream sends numbered messages to a server that echoes them, over one connection,
// until it is stopped.
type stream struct {
	name string
	conn net.Conn
	in   io.Reader
	stop chan struct{}
	done chan error // gets how the sending ended

	answers chan uint64
	ended   chan error // gets how the receiving ended

	sent int
}

// startStream returns a stream that has had its first answer. Its socket is in the
// network namespace of that file.
func startStream(ctx context.Context, name, namespace, protocol, target string) (*stream, error) {
	conn, err := dialWithin(ctx, namespace, protocol, target)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	s := &stream{
		name: name, conn: conn, in: conn, stop: make(chan struct{}), done: make(chan error, 1),
		answers: make(chan uint64, streamWindow), ended: make(chan error, 1),
	}
	if protocol == "tcp" {
		// The server says first who called.
		lines := bufio.NewReader(conn)
		if _, err := lines.ReadString('\n'); err != nil {
			return nil, errors.Join(fmt.Errorf("stream %s: %w", name, err), conn.Close())
		}
		s.in = lines
	}
	started := make(chan struct{})
	go func() { s.ended <- s.receive() }()
	go func() { s.done <- s.send(started) }()
	select {
	case <-started:
		return s, nil
	case err := <-s.done:
		return nil, errors.Join(fmt.Errorf("stream %s has no answer: %w", name, err), conn.Close())
	}
}

// send sends until it is told to stop and then waits for the last answers. A message
// without an answer fills its place in the window for good.
func (s *stream) send(started chan<- struct{}) error {
	ticker := time.NewTicker(streamEvery)
	defer ticker.Stop()
	waiting := map[uint64]bool{}
	message := make([]byte, 8)
	stop := s.stop
	var patience <-chan time.Time
	for stop != nil || len(waiting) > 0 {
		tick := ticker.C
		if stop == nil || len(waiting) == streamWindow {
			tick = nil
		}
		select {
		case <-tick:
			binary.BigEndian.PutUint64(message, uint64(s.sent))
			if _, err := s.conn.Write(message); err != nil {
				return fmt.Errorf("message %d: %w", s.sent, err)
			}
			waiting[uint64(s.sent)] = true
			s.sent++
		case number := <-s.answers:
			if !waiting[number] {
				return fmt.Errorf("message %d of %d has a second answer", number, s.sent)
			}
			delete(waiting, number)
			if started != nil {
				close(started)
				started = nil
			}
		case err := <-s.ended:
			return err
		case <-stop:
			stop, patience = nil, time.After(streamPatience)
		case <-patience:
			return fmt.Errorf("%d of %d messages are lost", len(waiting), s.sent)
		}
	}
	return nil
}

func (s *stream) receive() error {
	message := make([]byte, 8)
	for {
		if _, err := io.ReadFull(s.in, message); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		s.answers <- binary.BigEndian.Uint64(message)
	}
}

// close ends the stream and returns how many messages were sent, and an error if not
// each of them has had one answer.
func (s *stream) close() (sent int, err error) {
	close(s.stop)
	err = <-s.done
	return s.sent, errors.Join(err, s.conn.Close())
}
