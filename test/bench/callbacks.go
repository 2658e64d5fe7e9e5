package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/ournet/ournet/internal/admin"
	"github.com/ournet/ournet/test/bench/stats"
)

// callback is what the plugin counts of a verb, in microseconds.
type callback struct {
	Verb   string `json:"verb"`
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"`
	P50    int64  `json:"p50_us"`
	P99    int64  `json:"p99_us"`
	Max    int64  `json:"max_us"`
}

// callbacks asks the plugin how long its verbs took since it was started.
func (b *bed) callbacks(ctx context.Context) (list []callback, err error) {
	pid, err := b.host.FirstPID()
	if err != nil {
		return nil, err
	}
	socket := fmt.Sprintf("/proc/%d/root/run/docker/plugins/ournet.sock", pid)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin"+admin.StatsPath, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask the plugin for its times: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the plugin for its times: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	var verbs map[string]callback
	if err := json.NewDecoder(resp.Body).Decode(&verbs); err != nil {
		return nil, fmt.Errorf("read the plugin's times: %w", err)
	}
	for verb, c := range verbs {
		c.Verb = verb
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b callback) int { return strings.Compare(a.Verb, b.Verb) })
	return list, nil
}

// restartPlugin makes the plugin count from zero.
func (b *bed) restartPlugin(ctx context.Context) error {
	if err := b.docker(ctx, "plugin", "disable", "-f", pluginName); err != nil {
		return err
	}
	return b.docker(ctx, "plugin", "enable", pluginName)
}

// attachCost is what `docker run -d` and `docker rm -f` spend in the plugin.
type attachCost struct {
	Runs int `json:"runs"`
	// RunMS and RemoveMS are the medians of the whole commands, in milliseconds.
	RunMS     float64    `json:"run_ms"`
	RemoveMS  float64    `json:"rm_ms"`
	Callbacks []callback `json:"callbacks"`
}

// attaching are the verbs of a container's start; what else it calls is of its end.
func attaching() []string {
	return []string{
		"IpamDriver.RequestAddress", "NetworkDriver.CreateEndpoint", "NetworkDriver.Join",
		"NetworkDriver.EndpointOperInfo", "NetworkDriver.ProgramExternalConnectivity",
	}
}

func detaching() []string {
	return []string{
		"NetworkDriver.RevokeExternalConnectivity", "NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint", "IpamDriver.ReleaseAddress",
	}
}

// sum returns the medians of the verbs, each as often as a run calls it, in
// microseconds.
func (c attachCost) sum(verbs []string) float64 {
	var us float64
	for _, cb := range c.Callbacks {
		if slices.Contains(verbs, cb.Verb) {
			us += float64(cb.P50) * c.perRun(cb)
		}
	}
	return us
}

func (c attachCost) perRun(cb callback) float64 { return float64(cb.Count) / float64(c.Runs) }

// measureAttach runs containers on one ournet network alone, with a plugin that
// counts from zero.
func measureAttach(ctx context.Context, b *bed, rounds int) (cost attachCost, err error) {
	v := made()[1]
	if err := b.restartPlugin(ctx); err != nil {
		return attachCost{}, err
	}
	if err := b.docker(ctx, append(append([]string{"network", "create"}, v.create...), v.network)...); err != nil {
		return attachCost{}, err
	}
	defer func() {
		err = errors.Join(err, b.docker(context.WithoutCancel(ctx), "network", "rm", v.network))
	}()
	found := stats.NewSamples()
	for range rounds {
		steps, err := runDetached(ctx, b, v)
		if err != nil {
			return attachCost{}, err
		}
		for _, s := range steps {
			found.Add(s.name, v.name, s.took)
		}
	}
	cost = attachCost{
		Runs: rounds, RunMS: stats.Median(found.Values[found.Steps[0]][v.name]), RemoveMS: stats.Median(found.Values[found.Steps[1]][v.name]),
	}
	cost.Callbacks, err = b.callbacks(ctx)
	return cost, err
}
