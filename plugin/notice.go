package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ournet/ournet/internal/link"
)

// lookDelay is the time from an event of a container's interface to a look at it. It
// is longer than a verb takes to make or remove one, so that verbs cause no sweeps.
const lookDelay = 200 * time.Millisecond

// The causes of sweeps that no event is.
const (
	causeTime   = "periodic comparison"
	causeEngine = "news from the engine"
)

// loop sweeps until ctx ends. heard brings causes.
func (k *keeper) loop(ctx context.Context, links <-chan link.Event, heard <-chan string) {
	next, look := time.NewTimer(sweepEvery), time.NewTimer(lookDelay)
	defer next.Stop()
	defer look.Stop()
	var last time.Time
	cause := "" // of the sweep that next is for, "" for none but time
	suspects := make(map[string]bool)
	soon := func(why string) {
		if cause == "" {
			// At boot the engine's own bridge comes with a FORWARD policy that
			// drops what containers send that are about to start.
			next.Reset(max(sweepDelay, sweepGap-time.Since(last)))
			cause = why
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			if cause == "" {
				cause = causeTime
			}
			k.sweep(ctx, cause)
			last, cause = time.Now(), ""
			next.Reset(sweepEvery)
		case ev, ok := <-links:
			switch why, suspect := judge(ev); {
			case !ok: // ctx ends, or else the kernel ended the watch
				links = nil
			case why != "":
				soon(why)
			case suspect && len(suspects) == 0:
				look.Reset(lookDelay)
				suspects[ev.Name] = true
			case suspect:
				suspects[ev.Name] = true
			}
		case <-look.C:
			if why := k.look(slices.Sorted(maps.Keys(suspects))); why != "" {
				soon(why)
			}
			clear(suspects)
		case why := <-heard:
			soon(why)
		}
	}
}

// judge says why an event needs a sweep, "" if it does not. Of a veth that is gone,
// down or on no bridge it says that it is suspect: most are only on their way into or
// out of a container.
func judge(ev link.Event) (why string, suspect bool) {
	switch {
	case ev.Resync:
		return "more changes of devices than could be told of", false
	case ev.Unaddressed:
		return "a device lost an address", false
	case ev.Kind == "bridge" && ev.Deleted:
		return "bridge " + ev.Name + " was deleted", false
	case ev.Kind == "bridge":
		return "bridge " + ev.Name + " changed", false
	case ev.Kind == "vxlan" && ev.Deleted:
		return "tunnel " + ev.Name + " was deleted", false
	case ev.Kind == "vxlan":
		return "tunnel " + ev.Name + " changed", false
	}
	return "", ev.Kind == "veth" && (ev.Deleted || ev.Idle)
}

// look returns why the suspects need a sweep, "" if they do not.
func (k *keeper) look(suspects []string) string {
	if len(suspects) == 0 {
		return ""
	}
	disturbed, err := k.networks.Disturbed(suspects)
	switch {
	case err != nil:
		k.log.WithError(err).Debug("interfaces could not be looked at")
		return "an interface changed"
	case disturbed && len(suspects) == 1:
		return "interface " + suspects[0] + " changed"
	case disturbed:
		return fmt.Sprintf("one of %d interfaces changed", len(suspects))
	}
	return ""
}
