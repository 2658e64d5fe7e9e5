package hostport

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// A program that this process is just starting has a copy of every socket, from the
// fork until it runs: close-on-exec means on exec (execve(2)). A port that is let go
// meanwhile stays bound for that moment, and who holds it next must wait it out.
const (
	// releasedFor is how long a port counts as just let go.
	releasedFor = time.Second
	// releasedWait bounds the wait for such a port, and releasedTry is the time from
	// one try to the next.
	releasedWait = 100 * time.Millisecond
	releasedTry  = time.Millisecond
)

// noteReleasedLocked remembers that a port was let go, and forgets those of which it
// does not matter any more.
func (h *Holder) noteReleasedLocked(n number) {
	now := time.Now()
	for other, at := range h.released {
		if now.Sub(at) > releasedFor {
			delete(h.released, other)
		}
	}
	h.released[n] = now
}

// openLocked opens the socket of a port, and tries again for a moment if we have just
// let go of it.
func (h *Holder) openLocked(p Port) (int, error) {
	fd, err := open(p)
	at, ok := h.released[p.number()]
	if !ok || time.Since(at) > releasedFor {
		return fd, err
	}
	patience, try := time.NewTimer(h.wait), time.NewTicker(releasedTry)
	defer patience.Stop()
	defer try.Stop()
	for errors.Is(err, unix.EADDRINUSE) {
		select {
		case <-patience.C:
			return fd, err
		case <-try.C:
			fd, err = open(p)
		}
	}
	return fd, err
}
