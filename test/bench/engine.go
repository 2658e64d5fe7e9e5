package main

import (
	"context"
	"errors"

	"github.com/moby/moby/client"

	"github.com/ournet/ournet/test/bench/page"
	"github.com/ournet/ournet/test/lab"
)

// attachRuns is how many containers the cost of an attachment is measured with.
const attachRuns = 30

// benchEngine measures all there is on a fresh host.
func benchEngine(ctx context.Context, set settings, engine lab.Engine) (r engineResults, err error) {
	page.Progress("engine %s: a host with the plugin", engine)
	b, err := newBed(ctx, engine, set.plugin)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.remove(ctx)) }()
	r.Engine, r.Version, r.API = string(engine), b.server.Version, b.server.APIVersion
	r.Components = componentVersions(b.server)

	page.Progress("engine %s: memory, %d endpoints", engine, set.endpoints)
	if r.Memory, err = measureMemory(ctx, b, set.endpoints); err != nil {
		return r, err
	}
	page.Progress("engine %s: callbacks of %d containers", engine, attachRuns)
	if r.Attach, err = measureAttach(ctx, b, attachRuns); err != nil {
		return r, err
	}
	page.Progress("engine %s: %d rounds of all commands on all networks", engine, set.rounds)
	found, err := measureLatency(ctx, b, actions(), variants(), set.rounds)
	if err != nil {
		return r, err
	}
	r.Latency = summarize(found)
	if r.Callbacks, err = b.callbacks(ctx); err != nil {
		return r, err
	}
	if set.streams == 0 {
		return r, nil
	}
	page.Progress("engine %s: %d TCP streams on each network", engine, set.streams)
	r.Throughput, err = measureThroughput(ctx, b, set.streams)
	return r, err
}

// componentVersions returns the versions of what the engine consists of.
func componentVersions(v client.ServerVersionResult) map[string]string {
	all := make(map[string]string)
	for _, c := range v.Components {
		all[c.Name] = c.Version
	}
	return all
}
