// Package upstream knows the name servers that the host itself asks.
//
// It reads them from the host's resolv.conf, and reads that again when it may have
// changed. It knows nothing of what is asked there.
package upstream

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/hostfs"
)

const (
	path = "/etc/resolv.conf"
	port = 53
	// most is how many servers are taken, as the C library has it (MAXNS in resolv.h).
	most = 3
	// age is how old what is known of the file may be. To read it takes less than to look
	// whether it has changed in all the ways in which it may: a link leads elsewhere, or
	// the file is another.
	age = time.Second
)

// Servers are the host's name servers. They are safe for concurrent use.
type Servers struct {
	log logrus.FieldLogger
	fs  hostfs.FS

	mu    sync.Mutex // guards following
	list  []netip.AddrPort
	read  time.Time
	fails bool
}

// New returns the servers of a host. The file is not read yet.
func New(log logrus.FieldLogger, fs hostfs.FS) *Servers { return &Servers{log: log, fs: fs} }

// List returns the servers, the first first; they are to be asked from the host's network
// namespace. What the file said last holds while it cannot be read. The caller leaves the
// list as it is.
func (s *Servers) List() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.read.IsZero() || now.Sub(s.read) > age {
		s.read = now
		s.readLocked()
	}
	return s.list
}

func (s *Servers) readLocked() {
	list, err := s.parse()
	if err != nil {
		if !s.fails {
			s.log.WithError(err).Warn("which name servers the host asks cannot be read")
		}
		s.fails = true
		return
	}
	s.fails = false
	if !slices.Equal(list, s.list) {
		s.log.WithField("servers", list).Debug("the host's name servers")
	}
	s.list = list
}

func (s *Servers) parse() ([]netip.AddrPort, error) {
	name, err := s.fs.Follow(path)
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %w", err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the host's name servers: %w", err)
	}
	return parse(string(text)), nil
}

// parse reads a resolv.conf as the C library does: a line of another form is none.
func parse(text string) []netip.AddrPort {
	var list []netip.AddrPort
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() && len(list) < most {
		// A comment may follow the address, as it may anything.
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(addr, port))
		}
	}
	if len(list) == 0 {
		// resolv.conf(5): then it is the one on the machine itself.
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	}
	return list
}
