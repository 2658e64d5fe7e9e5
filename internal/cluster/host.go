package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/store"
)

// HostID names a host in the cluster, for as long as its disk lasts.
type HostID string

// hostIDBytes is the length of a host's id before it is written in hexadecimal.
const hostIDBytes = 8

// Host is what a host says of itself.
type Host struct {
	ID   HostID `json:"id"`
	Name string `json:"name"`
	// VTEPs are where VXLAN packets for the host are sent to; at most one of a
	// family counts.
	VTEPs []netip.Addr `json:"vteps"`
	// Port is the UDP port of VXLAN.
	Port    uint16 `json:"port"`
	Version string `json:"version,omitempty"`
	Engine  string `json:"engine,omitempty"`
}

func (h Host) check() error {
	if !validHex(string(h.ID), 2*hostIDBytes) {
		return fmt.Errorf("host id %q is not %d hexadecimal digits", h.ID, 2*hostIDBytes)
	}
	for _, addr := range h.VTEPs {
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
			return fmt.Errorf("host %s: %s is no address to send to", h.ID, addr)
		}
	}
	return nil
}

func (h Host) equal(o Host) bool {
	return h.ID == o.ID && h.Name == o.Name && h.Port == o.Port && h.Version == o.Version && h.Engine == o.Engine &&
		slices.Equal(h.VTEPs, o.VTEPs)
}

// Peer is a host, and what others see of it.
type Peer struct {
	Host

	// Suspect says that the host gives no sign of life.
	Suspect bool
	// LastSeen is when a suspect host was missed first; zero for one that lives.
	LastSeen time.Time
}

// suspicion is the record of a host that gives no sign of life.
type suspicion struct {
	Since time.Time `json:"since"`
	// Removing says that the removal of the host has begun: of what it said, some
	// may be gone.
	Removing bool `json:"removing,omitempty"`
}

func (s suspicion) check() error {
	if s.Since.IsZero() {
		return errors.New("a suspicion without a time")
	}
	return nil
}

// life is the record that a host's lease holds.
type life struct {
	Since time.Time `json:"since"`
}

// identityRecord is how this host keeps its id.
type identityRecord struct {
	ID HostID `json:"id"`
}

func (r identityRecord) check() error { return Host{ID: r.ID}.check() }

// identity returns this host's id; the first time it is made up.
func identity(ctx context.Context, local store.KV) (HostID, error) {
	for {
		pair, err := local.Get(ctx, store.LocalHostKey())
		if err == nil {
			r, derr := decode[identityRecord](pair.Value)
			return r.ID, derr
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		var raw [hostIDBytes]byte
		if _, err = rand.Read(raw[:]); err != nil {
			return "", err
		}
		value, err := encode(identityRecord{ID: HostID(hex.EncodeToString(raw[:]))})
		if err != nil {
			return "", err
		}
		_, err = local.Apply(ctx, store.CAS(store.LocalHostKey(), value, 0))
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return "", err
		}
	}
}

// validHex reports whether id has so many hexadecimal digits in lower case.
func validHex(id string, digits int) bool {
	if len(id) != digits {
		return false
	}
	for _, r := range id {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}
