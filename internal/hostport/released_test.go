package hostport

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ournet/ournet/internal/netnstest"
)

// holdAndCopy holds a port and returns it with a copy of its socket, as a program has
// that is just being started.
func holdAndCopy(t *testing.T, h *Holder) (Port, int) {
	t.Helper()
	netnstest.Enter(t)
	p := Port{Protocol: unix.IPPROTO_TCP, Addr: netip.IPv4Unspecified(), Port: 8080}
	if _, err := h.Hold(p.Protocol, p.Addr, p.Port); err != nil {
		t.Fatal(err)
	}
	copied, err := unix.FcntlInt(uintptr(h.held[p.number()][p.Addr]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Release(p.Protocol, p.Addr, p.Port); err != nil {
		t.Fatal(err)
	}
	return p, copied
}

func TestHold_programThatIsBeingStartedIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := New()
	h.wait = time.Minute // the test's patience, which is never used up
	p, copied := holdAndCopy(t, h)
	closed := make(chan error, 1)
	time.AfterFunc(5*releasedTry, func() { closed <- unix.Close(copied) })
	_, err := h.Hold(p.Protocol, p.Addr, p.Port)
	if err != nil {
		t.Errorf("Hold = %v, want the port once the other program runs", err)
	}
	if err := errors.Join(<-closed, h.Close()); err != nil {
		t.Error(err)
	}
}

func TestHold_portThatStaysTakenIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	h := New()
	h.wait = 5 * releasedTry
	p, copied := holdAndCopy(t, h)
	if _, err := h.Hold(p.Protocol, p.Addr, p.Port); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("Hold = %v, want EADDRINUSE", err)
	}
	if err := unix.Close(copied); err != nil {
		t.Error(err)
	}
}
