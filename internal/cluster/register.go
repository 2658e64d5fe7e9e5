package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/ournet/ournet/internal/store"
)

// firstVNI is where VNIs that nobody asked for begin. Below are those that people
// choose, and that Docker's swarm does (from 4096), in case it is on the same port.
const firstVNI = 1 << 23

// register is all networks of the cluster as the store has them, for whoever makes
// another. Whoever does also changes the key of creations, so that of two who found
// their subnet free one is done and the other looks again: no key of its own could
// keep overlapping subnets apart.
type register struct {
	lock     store.Pair // that key; index 0 if it is not there
	networks map[NetworkID]Network
	at       map[NetworkID]store.Index
	removals map[NetworkID]map[HostID]removal
	vnis     map[uint32]string // the record of who has it
}

func (c *Cluster) readRegister(ctx context.Context) (register, error) {
	r := register{
		networks: make(map[NetworkID]Network), at: make(map[NetworkID]store.Index),
		removals: make(map[NetworkID]map[HostID]removal), vnis: make(map[uint32]string),
	}
	lock, err := c.shared.Get(ctx, store.CreationKey())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return register{}, err
	}
	if r.lock = lock; errors.Is(err, store.ErrNotFound) {
		r.lock = store.Pair{Key: store.CreationKey()}
	}
	pairs, _, err := c.shared.List(ctx, store.NetworksPrefix(), 0)
	if err != nil {
		return register{}, err
	}
	for _, p := range pairs {
		if err := r.take(p); err != nil {
			return register{}, fmt.Errorf("the cluster has a network that this version cannot read; bring all hosts to one version: %s: %w", p.Key, err)
		}
	}
	pairs, _, err = c.shared.List(ctx, store.VNIsPrefix(), 0)
	if err != nil {
		return register{}, err
	}
	for _, p := range pairs {
		if vni, err := strconv.ParseUint(p.Key[len(store.VNIsPrefix()):], 10, 32); err == nil {
			r.vnis[uint32(vni)] = string(p.Value)
		}
	}
	return r, nil
}

func (r *register) take(p store.Pair) error {
	network, remover, ok := store.SplitNetworkKey(p.Key)
	if !ok {
		return nil
	}
	if remover != "" {
		gone, err := decode[removal](p.Value)
		if err != nil {
			return err
		}
		id := NetworkID(network)
		if r.removals[id] == nil {
			r.removals[id] = make(map[HostID]removal)
		}
		r.removals[id][HostID(remover)] = gone
		return nil
	}
	n, err := decode[Network](p.Value)
	if err != nil {
		return err
	}
	r.networks[n.ID], r.at[n.ID] = n, p.Index
	return nil
}

// match returns the network that spec means: rather one that this host takes part in
// and the store does not know, so that it does not get another on its subnet.
func (r *register) match(spec NetworkSpec) (Network, bool) {
	if n, ok := r.networks[spec.ID]; ok {
		return n, true
	}
	var (
		found Network
		ok    bool
	)
	for id, n := range r.networks {
		if n.Subnets[0].Pool == spec.Subnets[0].Pool && (!ok || r.at[id] == 0) {
			found, ok = n, true
		}
	}
	return found, ok
}

// forget makes the register as if there was no such network.
func (r *register) forget(n Network) {
	delete(r.networks, n.ID)
	delete(r.vnis, n.VNI)
}

// create returns n with its VNI, and what makes it.
func (c *Cluster) create(r register, n Network) (Network, []store.Op, error) {
	for _, o := range r.networks {
		for _, s := range n.Subnets {
			if i := slices.IndexFunc(o.Subnets, func(os Subnet) bool { return os.Pool.Overlaps(s.Pool) }); i >= 0 {
				return Network{}, nil, fmt.Errorf("subnet %s %w: network %s of the cluster has %s; choose another", s.Pool, ErrTaken, o.label(), o.Subnets[i].Pool)
			}
		}
	}
	if n.VNI != 0 {
		if _, taken := r.vnis[n.VNI]; taken {
			return Network{}, nil, fmt.Errorf("VNI %d %w by network %s of the cluster; choose another, or none", n.VNI, ErrTaken, r.holder(n.VNI))
		}
	} else {
		n.VNI = r.freeVNI(n.ID)
	}
	record, err := encode(n)
	if err != nil {
		return Network{}, nil, err
	}
	vni, err := encode(vniRecord{Network: n.ID})
	if err != nil {
		return Network{}, nil, err
	}
	return n, []store.Op{
		store.CAS(r.lock.Key, vni, r.lock.Index),
		store.CAS(store.NetworkKey(string(n.ID)), record, 0),
		store.CAS(vniKey(n.VNI), vni, 0),
		store.Delete(store.CollectedKey(string(n.ID))),
	}, nil
}

// holder is what people know the network by that has a VNI.
func (r *register) holder(vni uint32) string {
	for _, n := range r.networks {
		if n.VNI == vni {
			return n.label()
		}
	}
	return "another"
}

// freeVNI chooses a VNI by the network's id, so that hosts that make networks at the
// same time do not choose the same.
func (r *register) freeVNI(id NetworkID) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	for n := h.Sum32(); ; n++ {
		vni := firstVNI + n%(maxVNI+1-firstVNI)
		if _, taken := r.vnis[vni]; !taken {
			return vni
		}
	}
}

func vniKey(vni uint32) string { return store.VNIKey(strconv.FormatUint(uint64(vni), 10)) }

// merge puts ops together; of those for one key, which are a deletion and a
// creation, the later counts, if the key is still what it was.
func merge(first, later []store.Op) []store.Op {
	for _, op := range later {
		i := slices.IndexFunc(first, func(o store.Op) bool { return o.Key == op.Key })
		switch {
		case i < 0:
			first = append(first, op)
		case op.Kind == store.OpCAS && first[i].Kind == store.OpDeleteCAS:
			first[i] = store.CAS(op.Key, op.Value, first[i].Index)
		case op.Kind == store.OpCAS:
			first[i] = store.Set(op.Key, op.Value)
		default:
			first[i] = op
		}
	}
	return first
}
