// Package lab runs several Docker hosts on one machine, for tests and for people.
//
// A host is a set of namespaces (network, mount, process, host name, IPC, cgroup)
// with an engine of its own, its own /run, /etc and /var/lib, and an address on an
// underlay 10.99.0.0/24. One more machine without an engine, the outside, stands
// for the rest of the world at 10.99.0.254. Nothing of a lab exists in the
// namespaces of the machine it runs on but processes, one cgroup per host and one
// folder; so labs never clash, and killing each host's first process removes it
// the way a power cut would.
//
// It needs root, and runs nothing but what the machine and the cache folder hold:
// no image is pulled, no query leaves the underlay.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Lab is a running set of hosts. Its methods may be used from several goroutines;
// each [Host] takes one change of its power or engine at a time.
type Lab struct {
	// Name is unique among the labs of the machine.
	Name string
	// Dir holds all files of the lab; it is shared with every host under the
	// same path.
	Dir string
	// Hosts are the hosts in the order of Config.Engines.
	Hosts []*Host
	// Outside is the rest of the world: a machine on the underlay, no engine.
	Outside *Machine

	log Logf

	mu     sync.Mutex // guards record.Processes and its file
	record record

	images sync.Mutex // guards the programs and image.tar, which are made when first used
}

// Up makes a lab and returns when every engine answers. What an earlier owner that
// is dead now has left is removed first. On an error nothing is left.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab makes namespaces, mounts and cgroups: run it as root")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := reapStale(ctx, cfg.Log); err != nil {
		return nil, fmt.Errorf("remove labs whose owner is dead: %w", err)
	}
	l, err := newLab(cfg)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		// The error's ctx may be over; what was started must go all the same.
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
		return nil, errors.Join(err, l.Down(down))
	}
	return l, nil
}

// newLab makes the lab's folder and its record, but starts nothing.
func newLab(cfg Config) (*Lab, error) {
	suffix := make([]byte, 3)
	rand.Read(suffix)
	name := "lab" + hex.EncodeToString(suffix)
	dir, err := os.MkdirTemp(cfg.Dir, "ournet-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make the lab's folder: %w", err)
	}
	owner, err := findProcess(os.Getpid())
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	l := &Lab{Name: name, Dir: dir, log: cfg.Log}
	l.record = record{
		Name: name, Dir: dir, Cache: cfg.CacheDir, MTU: cfg.MTU, Forward: cfg.Forward,
		DockerdArgs: cfg.DockerdArgs, Keep: cfg.Keep, Owner: owner, Engines: cfg.Engines, Processes: map[string]process{},
	}
	if err := l.record.write(); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	l.populate()
	return l, nil
}

// populate makes the values of the machines; none is running yet.
func (l *Lab) populate() {
	l.Outside = newMachine(l, outsideName, outsideNumber)
	for i, e := range l.record.Engines {
		m := newMachine(l, fmt.Sprintf("h%d", i+1), i+1)
		m.forward = l.record.Forward || e.forward()
		l.Hosts = append(l.Hosts, &Host{Machine: m, Engine: e, bin: e.bin(l.record.Cache)})
	}
}

func (l *Lab) start(ctx context.Context) error {
	begin := time.Now()
	if err := l.Outside.powerOn(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error { return h.boot(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.log("%s: %d hosts in %.1f s", l.Name, len(l.Hosts), time.Since(begin).Seconds())
	return nil
}

// Host returns host i; the first is 1.
func (l *Lab) Host(i int) *Host { return l.Hosts[i-1] }

// machines returns all machines of the lab.
func (l *Lab) machines() []*Machine {
	all := []*Machine{l.Outside}
	for _, h := range l.Hosts {
		all = append(all, h.Machine)
	}
	return all
}

// Down powers every machine of the lab off and removes all that it consists of:
// processes (each by its id), cgroups, folder, record. It may be called again
// after an error.
func (l *Lab) Down(ctx context.Context) error {
	begin := time.Now()
	// The cable of a machine ends in the outside, which therefore goes last.
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error { return h.powerOff(gctx) })
	}
	if err := errors.Join(g.Wait(), l.Outside.powerOff(ctx)); err != nil {
		return err
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("remove the folder of %s: %w", l.Name, err)
	}
	if err := l.record.remove(); err != nil {
		return err
	}
	l.log("%s: down in %.1f s", l.Name, time.Since(begin).Seconds())
	return nil
}

// setProcess notes the first process of a machine in the state file, so that a lab
// whose owner was killed can still be found; nil means that it is off.
func (l *Lab) setProcess(machine string, p *process) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		delete(l.record.Processes, machine)
	} else {
		l.record.Processes[machine] = *p
	}
	return l.record.write()
}

// process returns what setProcess noted.
func (l *Lab) process(machine string) (process, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.record.Processes[machine]
	return p, ok
}

// path joins elem to the lab's folder.
func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}
