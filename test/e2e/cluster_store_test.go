package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ournet/ournet/test/lab"
)

// sharedNetwork is a network as Consul has it.
type sharedNetwork struct {
	cluster string // its id in the cluster
	name    string
	vni     uint32
}

// stored returns all that Consul has below the prefix, the prefix cut off.
func (c *cluster) stored(prefix string) (map[string][]byte, error) {
	var errs []error
	for _, s := range c.consul.Servers {
		client, err := s.Client()
		if err != nil {
			return nil, err
		}
		pairs, _, err := client.KV().List(storePrefix+prefix, nil)
		if err != nil {
			errs = append(errs, err) // another may have a leader
			continue
		}
		values := map[string][]byte{}
		for _, p := range pairs {
			values[strings.TrimPrefix(p.Key, storePrefix+prefix)] = p.Value
		}
		return values, nil
	}
	return nil, errors.Join(errs...)
}

// logStore shows what Consul has.
func (c *cluster) logStore() {
	c.Helper()
	values, err := c.stored("v1/")
	if err != nil {
		c.Logf("what the store has is not known: %v", err)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		c.Logf("v1/%s = %.300s", key, values[key])
	}
}

// decodeRecord returns what is in a value of the cluster's.
func decodeRecord[T any](value []byte) (T, error) {
	var envelope struct {
		Version int `json:"v"`
		Record  T   `json:"r"`
	}
	if err := json.Unmarshal(value, &envelope); err != nil {
		return envelope.Record, err
	}
	if envelope.Version != 1 {
		return envelope.Record, fmt.Errorf("version %d", envelope.Version)
	}
	return envelope.Record, nil
}

// sharedNetworks returns the networks of the cluster by their ids.
func (c *cluster) sharedNetworks() (map[string]sharedNetwork, error) {
	values, err := c.stored("v1/networks/")
	if err != nil {
		return nil, err
	}
	networks := map[string]sharedNetwork{}
	for id, value := range values {
		if strings.Contains(id, "/") {
			continue // that a host removed it
		}
		record, err := decodeRecord[struct {
			Name string `json:"name"`
			VNI  uint32 `json:"vni"`
		}](value)
		if err != nil {
			return nil, fmt.Errorf("record of network %s: %w", id, err)
		}
		networks[id] = sharedNetwork{cluster: id, name: record.Name, vni: record.VNI}
	}
	return networks, nil
}

// assertStoreEmpty asserts that Consul has nothing of any network, pool or endpoint.
func (c *cluster) assertStoreEmpty() {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), quiet)
	defer cancel()
	err := lab.Poll(ctx, "the store to be empty", func() error {
		values, err := c.stored("v1/")
		if err != nil {
			return err
		}
		var left []string
		for key, value := range values {
			for _, kind := range []string{"networks/", "removed/", "endpoints/", "vni/", "pools/", "claims/"} {
				if strings.HasPrefix(key, kind) {
					left = append(left, fmt.Sprintf("%s = %.200s", key, value))
				}
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
	if err != nil {
		c.Error(err)
	}
}

// findRecords adds what Consul has of networks and endpoints.
func (c *cluster) findRecords(have facts, networks map[string]sharedNetwork) error {
	for _, n := range networks {
		have.add(inStore, "network %s: vni %d", n.name, n.vni)
	}
	hosts, err := c.storedHosts()
	if err != nil {
		return err
	}
	values, err := c.stored("v1/endpoints/")
	if err != nil {
		return err
	}
	for key, value := range values {
		path := strings.Split(key, "/")
		if len(path) < 2 || len(path) > 3 {
			return fmt.Errorf("a key v1/endpoints/%s", key)
		}
		network, at := networks[path[0]].name, hosts[path[1]]
		if len(path) == 2 {
			have.add(inStore, "%s", memberLine(network, at))
			continue
		}
		record, err := decodeRecord[struct {
			Addrs []netip.Addr `json:"addrs"`
			MAC   string       `json:"mac"`
		}](value)
		if err != nil {
			return fmt.Errorf("record of endpoint %s: %w", key, err)
		}
		var addrs []string
		for _, a := range record.Addrs {
			addrs = append(addrs, a.String())
		}
		have.add(inStore, "%s", recordLine(network, at, path[2], record.MAC, addrs))
	}
	return nil
}

// storedHosts returns the names of the lab's hosts by their ids in the cluster.
func (c *cluster) storedHosts() (map[string]string, error) {
	values, err := c.stored("v1/hosts/")
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for id, value := range values {
		record, err := decodeRecord[struct {
			Name string `json:"name"`
		}](value)
		if err != nil {
			return nil, fmt.Errorf("record of host %s: %w", id, err)
		}
		names[id] = record.Name
	}
	return names, nil
}
