package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/underlay"
)

// settleTime is the time from a change of this host's addresses to a look at them, so
// that one that is exchanged, as DHCP does, is found exchanged.
const settleTime = time.Second

// causeAddress is why tunnels are moved.
const causeAddress = "this host has another address for packets between hosts"

// followAddress tells the cluster where to send to when the address that it was told is
// not this host's any more, until ctx ends. While there is no other that would do it
// stays: nobody can be told of none.
func (p *parts) followAddress(ctx context.Context) error {
	links, err := p.devices.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch this host's addresses: %w", err)
	}
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	lost, soon := false, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-links:
			if !ok {
				links = nil // ctx ends, or else the kernel ended the watch
			} else if !soon && (ev.Addressed || ev.Unaddressed || ev.Resync) {
				look.Reset(settleTime)
				soon = true
			}
			continue
		case <-look.C:
		}
		look.Reset(lookEvery)
		soon = false
		err := p.move(ctx)
		if err != nil && ctx.Err() == nil && !lost { // said once
			p.log.WithError(err).Error("this host has lost the address that other hosts send to, and its containers do not reach theirs")
		}
		lost = err != nil
	}
}

// move takes another address if the one that the cluster knows is gone.
func (p *parts) move(ctx context.Context) error {
	before := *p.vteps.Load()
	if has, err := underlay.Has(before); err != nil || has {
		return err
	}
	own, err := underlay.Find(ctx, p.cfg.Cluster.Advertise, p.servers)
	if err != nil {
		return err
	}
	p.vteps.Store(&own)
	p.log.WithFields(logrus.Fields{"before": before, "addresses": own}).Warn(causeAddress)
	p.moved(causeAddress)
	if err := p.cluster.Move(ctx, own); err != nil {
		return fmt.Errorf("tell the cluster of this host's addresses %v: %w", own, err)
	}
	return nil
}
