package names

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/engine"
	"github.com/ournet/ournet/internal/store"
)

// recordVersion is the version of the records that this code writes. Raise it when an
// older reader would misread what is written.
const recordVersion = 1

// record is a label as it is kept. A process that begins knows from it what is called
// how, before the engine answers: one that has itself just begun denies the names of
// containers that it left running (Engine 20.10).
type record struct {
	Version   int
	Container string
	Name      string
	Aliases   []string      `json:",omitempty"`
	Links     []engine.Link `json:",omitempty"`
	Priority  int           `json:",omitempty"`
	NoIPv6    bool          `json:",omitempty"`
}

func encodeLabel(l *label) ([]byte, error) {
	b, err := json.Marshal(record{
		Version: recordVersion, Container: l.container, Name: l.name, Aliases: l.aliases, Links: l.links, Priority: l.priority, NoIPv6: l.noIPv6,
	})
	if err != nil {
		return nil, fmt.Errorf("encode names of container %s: %w", l.name, err)
	}
	return b, nil
}

func decodeLabel(b []byte) (*label, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("decode names: %w", err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("decode names: version %d is unknown", r.Version)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("decode names: %w", err)
	}
	return &label{
		container: r.Container, name: r.Name, aliases: r.Aliases, links: r.Links, priority: r.Priority, noIPv6: r.NoIPv6, remembered: true,
	}, nil
}

// save has what is known of an endpoint now written down, in the background.
func (n *Names) save(network driver.NetworkID, endpoint driver.EndpointID) {
	n.work.do("record "+string(endpoint), func(ctx context.Context) {
		op := store.Delete(store.LocalNamesKey(string(network), string(endpoint)))
		if l := n.labelOf(network, endpoint); l != nil {
			value, err := encodeLabel(l)
			if err != nil {
				n.log.WithError(err).Error("names are not written down")
				return
			}
			op = store.Set(op.Key, value)
		}
		if _, err := n.parts.Store.Apply(ctx, op); err != nil && ctx.Err() == nil {
			// They are learned anew by the next process.
			n.log.WithError(err).WithField("endpoint", endpoint.Short()).Warn("names are not written down")
		}
	})
}

// remember reads what an earlier process had learned. What is of an endpoint that has
// left, or whose sandbox is gone, is deleted.
func (n *Names) remember(ctx context.Context) {
	pairs, _, err := n.parts.Store.List(ctx, store.LocalNamesPrefix(), 0)
	if err != nil {
		n.log.WithError(err).Warn("names are learned anew")
		return
	}
	for _, p := range pairs {
		rest := strings.TrimPrefix(p.Key, store.LocalNamesPrefix())
		first, second, _ := strings.Cut(rest, "/")
		network, endpoint := driver.NetworkID(first), driver.EndpointID(second)
		l, err := decodeLabel(p.Value)
		if err != nil {
			n.log.WithError(err).WithField("key", p.Key).Warn("record of names skipped")
			continue
		}
		if key := n.sandboxOf(network, endpoint); key != "" && n.parts.Sandboxes.Exists(key) {
			n.mu.Lock()
			n.setLabelLocked(network, endpoint, l)
			n.mu.Unlock()
			continue
		}
		if _, err := n.parts.Store.Apply(ctx, store.Delete(p.Key)); err != nil && !errors.Is(err, context.Canceled) {
			n.log.WithError(err).WithField("key", p.Key).Warn("record of names not deleted")
		}
	}
}

func (n *Names) labelOf(network driver.NetworkID, endpoint driver.EndpointID) *label {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ep := n.endpointLocked(network, endpoint); ep != nil {
		return ep.label
	}
	return nil
}

func (n *Names) sandboxOf(network driver.NetworkID, endpoint driver.EndpointID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ep := n.endpointLocked(network, endpoint); ep != nil {
		return ep.sandbox
	}
	return ""
}
