package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/internal/config"
	"github.com/ournet/ournet/internal/hostfs"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

// sharedStore is the store that the hosts of a cluster have in common.
type sharedStore interface {
	store.KV
	store.Leaser
	Close() error
}

// openShared returns the cluster store that the settings tell of, without asking it, and
// its servers' addresses. Its error is one line that says what to set.
func openShared(log logrus.FieldLogger, cfg config.Cluster, host hostfs.FS) (sharedStore, []string, error) {
	if cfg.Err != nil {
		return nil, nil, oneLine(cfg.Err)
	}
	conf, err := consul.Parse(cfg.Store, cfg.StoreOpts, cfg.Getenv)
	if err != nil {
		return nil, nil, oneLine(fmt.Errorf("settings: %w", err))
	}
	if err := hostFiles(&conf, host); err != nil {
		return nil, nil, oneLine(err)
	}
	shared, err := consul.New(log, conf)
	if err != nil {
		return nil, nil, oneLine(err)
	}
	return shared, conf.Addresses, nil
}

// hostFiles maps the files of a configuration, which are the host's, to what this
// process can open.
func hostFiles(conf *consul.Config, host hostfs.FS) error {
	var errs []error
	for _, f := range []struct {
		setting string
		path    *string
	}{
		{"kv.cacertfile", &conf.CAFile},
		{"CONSUL_CAPATH", &conf.CAPath},
		{"kv.certfile", &conf.CertFile},
		{"kv.keyfile", &conf.KeyFile},
		{"kv.tokenfile", &conf.TokenFile},
	} {
		if *f.path == "" {
			continue
		}
		found, err := host.Follow(*f.path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%w: set it to a file of this host", f.setting, err))
			continue
		}
		*f.path = found
	}
	if conf.HTTPS && conf.CAFile == "" && conf.CAPath == "" {
		conf.CAFile = systemCAs(host)
	}
	return errors.Join(errs...)
}

// systemCAs returns the file of the host that has the certificates of the CAs that it
// trusts, "" if there is none: the plugin's own root has no such file. The places are
// those of crypto/x509 (root_linux.go).
func systemCAs(host hostfs.FS) string {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if found, err := host.Follow(path); err == nil {
			return found
		}
	}
	return ""
}

// lineError is an error whose text is one line: users see it after "docker: Error
// response from daemon".
type lineError struct{ error }

func (e lineError) Error() string {
	return strings.Join(strings.Split(strings.TrimSpace(e.error.Error()), "\n"), "; ")
}

func (e lineError) Unwrap() error { return e.error }

func oneLine(err error) error { return lineError{err} }

// setupError is the reason why the cluster store is not asked, for a user to read.
type setupError struct{ error }

// Is makes it what every store says that is not set up.
func (setupError) Is(target error) bool {
	return target == store.ErrSetup || target == store.ErrUnavailable
}

func (e setupError) Unwrap() error { return e.error }

// gate is the cluster store of a host, as far as it has one. While it is shut, every
// question is answered with why, and what other hosts said before is known from the
// mirror alone. It is opened once.
type gate struct {
	mu    sync.Mutex // guards all below
	store sharedStore
	why   error // nil if it is open
	last  error // why the last question had no answer, nil if it had
}

var _ sharedStore = (*gate)(nil)

// open opens the gate.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.why = nil
}

// shut returns why nothing can be asked, nil if it can.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// note keeps whether the store answers. That somebody does not get what he asks for is
// an answer as well.
func (g *gate) note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	for _, answer := range []error{store.ErrNotFound, store.ErrConflict, store.ErrLeaseLost, store.ErrTooLarge} {
		if errors.Is(err, answer) {
			err = nil
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = err
}

// away returns why the store does not answer, nil if it did last time.
func (g *gate) away() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// through returns the store to ask.
func (g *gate) through() (sharedStore, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.why != nil {
		return nil, setupError{g.why}
	}
	return g.store, nil
}

// Get implements [store.KV].
func (g *gate) Get(ctx context.Context, key string) (store.Pair, error) {
	s, err := g.through()
	if err != nil {
		return store.Pair{}, err
	}
	pair, err := s.Get(ctx, key)
	g.note(err)
	return pair, err
}

// List implements [store.KV].
func (g *gate) List(ctx context.Context, prefix string, after store.Index) ([]store.Pair, store.Index, error) {
	s, err := g.through()
	if err != nil {
		return nil, 0, err
	}
	pairs, index, err := s.List(ctx, prefix, after)
	g.note(err)
	return pairs, index, err
}

// Apply implements [store.KV].
func (g *gate) Apply(ctx context.Context, ops ...store.Op) (store.Index, error) {
	s, err := g.through()
	if err != nil {
		return 0, err
	}
	index, err := s.Apply(ctx, ops...)
	g.note(err)
	return index, err
}

// Lease implements [store.Leaser].
func (g *gate) Lease(ctx context.Context, opts store.LeaseOptions) (store.Lease, error) {
	s, err := g.through()
	if err != nil {
		return nil, err
	}
	lease, err := s.Lease(ctx, opts)
	g.note(err)
	return lease, err
}

// Revoke implements [store.Leaser].
func (g *gate) Revoke(ctx context.Context, id string) error {
	s, err := g.through()
	if err != nil {
		return err
	}
	return s.Revoke(ctx, id)
}

// Close closes the store behind the gate, if there is one.
func (g *gate) Close() error {
	if g.store == nil {
		return nil
	}
	return g.store.Close()
}
