package firewall

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacy notices changes of iptables-legacy's filter tables without running its
// programs, which take milliseconds and a lock.
type legacy struct {
	// every is how often to look, [legacyEvery] but for tests.
	every time.Duration

	mu sync.Mutex // guards left and told
	// left is how each table was when we last saw to it, by program. To compare with
	// that, and not with the last look, finds what was undone between two looks.
	left map[string]fingerprint
	// told is what was reported since then.
	told map[string]fingerprint
}

func newLegacy() *legacy {
	return &legacy{every: legacyEvery, left: make(map[string]fingerprint), told: make(map[string]fingerprint)}
}

// fingerprint is struct ipt_getinfo and struct ip6t_getinfo: the size of a table, how
// many entries it has, and where each of its chains begins and ends. It changes with
// every rule and chain that comes or goes, though not when one is replaced by one of
// the same size.
type fingerprint struct {
	name       [32]byte
	hooks      uint32
	entry      [5]uint32
	underflow  [5]uint32
	entries    uint32
	sizeOfThem uint32
}

// getInfo is IPT_SO_GET_INFO and IP6T_SO_GET_INFO (linux/netfilter_ipv4/ip_tables.h).
const getInfo = 64

// changed returns the programs whose table is not as we left it, each change once.
func (l *legacy) changed() []string {
	now := fingerprints()
	l.mu.Lock()
	defer l.mu.Unlock()
	var programs []string
	for _, w := range worlds() {
		f, ok := now[w.program]
		if told, again := l.told[w.program]; !ok || f == l.left[w.program] || again && f == told {
			continue
		}
		l.told[w.program] = f
		programs = append(programs, w.program)
	}
	return programs
}

// leave remembers the tables as they are, now that they are right.
func (l *legacy) leave() {
	now := fingerprints()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = now
	clear(l.told)
}

// fingerprints returns those of all legacy tables that can be asked, by program. One
// that cannot went away between two questions, and the next sweep sees to it.
func fingerprints() map[string]fingerprint {
	all := make(map[string]fingerprint)
	for _, w := range worlds() {
		if !w.legacy {
			continue
		}
		if f, err := w.fingerprint(); err == nil {
			all[w.program] = f
		}
	}
	return all
}

// fingerprint returns the zero value if the table is not in use: the kernel would make
// it if it were asked of it.
func (w world) fingerprint() (f fingerprint, err error) {
	if inUse, err := w.inUse(); !inUse || err != nil {
		return f, err
	}
	family, level := unix.AF_INET, unix.SOL_IP
	if w.program == "ip6tables-legacy" {
		family, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return f, fmt.Errorf("open a raw socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	copy(f.name[:], filterTable)
	size := uint32(unsafe.Sizeof(f))
	//nolint:gosec // the option takes a name and gives a struct, which the library has no call for
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&f)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return f, fmt.Errorf("ask %s for its size: %w", w.program, errno)
	}
	return f, nil
}
