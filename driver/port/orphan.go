package port

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/link"
)

// deleter deletes devices.
type deleter interface {
	Delete(name string) error
}

// Wanted says which devices of a kind of network are not left over.
type Wanted struct {
	// Prefix begins the alias of every device that was made for a network; the rest is
	// the network's id.
	Prefix string
	// Kinds are the kernel's kinds of such devices.
	Kinds []string
	// Networks are those on record, and Devices returns what a network has beside the
	// host sides of its endpoints.
	Networks []driver.Attached
	Devices  func(n driver.Network) []string
	// Unreadable are networks that are left alone, though nothing else is known of them.
	Unreadable []driver.NetworkID
}

// RemoveOrphans removes devices that carry an alias of w, and ports on such bridges
// that carry our names, which no record wants. A bridge without the alias is left
// alone: its ports may be the user's, or another instance's.
func RemoveOrphans(devices deleter, w Wanted, links []link.Link) ([]string, error) {
	var (
		repairs []string
		errs    []error
	)
	for _, name := range w.orphans(links) {
		if err := devices.Delete(name); err != nil {
			errs = append(errs, fmt.Errorf("remove orphan %s: %w", name, err))
			continue
		}
		repairs = append(repairs, fmt.Sprintf("device %s was left over", name))
	}
	return repairs, errors.Join(errs...)
}

// orphans names the devices that RemoveOrphans removes.
func (w Wanted) orphans(links []link.Link) []string {
	wanted := w.names()
	ours := make(map[string]bool)
	var orphans []string
	for _, l := range links {
		id, ok := strings.CutPrefix(l.Alias, w.Prefix)
		if !slices.Contains(w.Kinds, l.Kind) || !ok || slices.Contains(w.Unreadable, driver.NetworkID(id)) {
			continue
		}
		ours[l.Name] = true
		if !wanted[l.Name] {
			orphans = append(orphans, l.Name)
		}
	}
	for _, l := range links {
		if l.Kind == "veth" && ours[l.Master] && IsHostSide(l.Name) && !wanted[l.Name] {
			orphans = append(orphans, l.Name)
		}
	}
	return orphans
}

// names are the devices that the records want.
func (w Wanted) names() map[string]bool {
	wanted := make(map[string]bool)
	for _, a := range w.Networks {
		for _, name := range w.Devices(a.Network) {
			wanted[name] = true
		}
		for _, ep := range a.Endpoints {
			wanted[HostSide(ep.ID)] = true
		}
		for _, id := range a.Unreadable {
			wanted[HostSide(id)] = true
		}
	}
	return wanted
}
