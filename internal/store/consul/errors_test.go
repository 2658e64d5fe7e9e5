package consul_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
)

// patience bounds what should not take long; reaching it is a failure.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wantError wants one line that is of a kind and says these words.
func wantError(t *testing.T, what string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want %v", what, err, kind)
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: more than one line: %q", what, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q does not say %q", what, err, word)
		}
	}
}

// every does each kind of call and wants the same of all of them.
func every(t *testing.T, s *consul.Store, kind error, words ...string) {
	t.Helper()
	_, err := s.Get(within(t), "k")
	wantError(t, "Get", err, kind, words...)
	_, _, err = s.List(within(t), "", 0)
	wantError(t, "List", err, kind, words...)
	_, _, err = s.List(within(t), "", 7)
	wantError(t, "List after an index", err, kind, words...)
	_, err = s.Apply(within(t), store.Set("k", []byte("1")))
	wantError(t, "Apply", err, kind, words...)
	_, err = s.Apply(within(t), store.Check("k", 0))
	wantError(t, "Apply of a check", err, kind, words...)
	_, err = s.Lease(within(t), store.LeaseOptions{Name: "test", TTL: 10 * time.Second})
	wantError(t, "Lease", err, kind, words...)
}

func TestErrors_noConsulThere(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := consul.Defaults()
	cfg.Addresses = []string{address}
	s := openStore(t, cfg)
	every(t, s, consul.ErrUnreachable, address, "connection refused", "CLUSTER_STORE")
	every(t, s, store.ErrUnavailable)
	if _, err := s.Apply(within(t), store.Set("k", nil)); errors.Is(err, store.ErrUncertain) {
		t.Errorf("a write that was never sent counts as uncertain: %v", err)
	}
}

func TestErrors_wrongToken(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{ACL: true})
	cfg := settings(c)
	// To who may not read them there are no changes, so a wait takes its time to say.
	cfg.Wait = time.Second
	for name, token := range map[string]string{
		"none":           "",
		"unknown":        "deadbeef-0000-4000-8000-000000000002",
		"of other keys":  c.Token(t, "other", `key_prefix "other/" { policy = "write" }`),
		"no UUID at all": "hello",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cfg
			cfg.Token = token
			every(t, openStore(t, cfg), store.ErrDenied, "kv.tokenfile", "CONSUL_HTTP_TOKEN", cfg.Prefix+"/")
		})
	}
	t.Run("may only read", func(t *testing.T) {
		t.Parallel()
		cfg := cfg
		cfg.Token = c.Token(t, "reader", `key_prefix "ournet/" { policy = "read" }`)
		s := openStore(t, cfg)
		if _, _, err := s.List(within(t), "", 0); err != nil {
			t.Errorf("List: %v", err)
		}
		_, err := s.Apply(within(t), store.Set("k", nil), store.Set("l", nil))
		wantError(t, "Apply", err, store.ErrDenied, "kv.tokenfile")
	})
	t.Run("sees a part", func(t *testing.T) {
		t.Parallel()
		cfg := cfg
		cfg.Token = consultest.Token
		if _, err := openStore(t, cfg).Apply(within(t), store.Set("mine/1", nil), store.Set("other/1", nil)); err != nil {
			t.Fatal(err)
		}
		cfg.Token = c.Token(t, "part", `key_prefix "`+cfg.Prefix+`/mine/" { policy = "read" }`)
		s := openStore(t, cfg)
		if pairs, _, err := s.List(within(t), "mine/", 0); err != nil || len(pairs) != 1 {
			t.Errorf("List of what it may see: %v, %v", pairs, err)
		}
		// What is hidden must not look deleted.
		_, _, err := s.List(within(t), "", 0)
		wantError(t, "List of everything", err, store.ErrDenied)
		_, _, err = s.List(within(t), "other/", 0)
		wantError(t, "List of what is hidden", err, store.ErrDenied)
	})
}

func TestErrors_wrongCertificate(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{TLS: true})
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if err := consultest.WriteCertificate(ca, cert, key, nil); err != nil {
		t.Fatal(err)
	}
	good := settings(c)
	good.HTTPS, good.CAFile, good.CertFile, good.KeyFile = true, c.CAFile, c.CertFile, c.KeyFile
	if _, err := openStore(t, good).Get(within(t), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("with the right certificates: %v", err)
	}
	for name, change := range map[string]func(cfg *consul.Config){
		"another authority":     func(cfg *consul.Config) { cfg.CAFile = ca },
		"no authority":          func(cfg *consul.Config) { cfg.CAFile = "" },
		"another's certificate": func(cfg *consul.Config) { cfg.CertFile, cfg.KeyFile = cert, key },
		"no certificate":        func(cfg *consul.Config) { cfg.CertFile, cfg.KeyFile = "", "" },
		"another host":          func(cfg *consul.Config) { cfg.ServerName = "elsewhere.example" },
		"no TLS on our side":    func(cfg *consul.Config) { cfg.HTTPS = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			change(&cfg)
			every(t, openStore(t, cfg), consul.ErrCertificate, "kv.cacertfile", cfg.Addresses[0])
		})
	}
	t.Run("no TLS on Consul's side", func(t *testing.T) {
		t.Parallel()
		plain := consultest.Start(t, 1, consultest.Options{})
		cfg := good
		cfg.Addresses = plain.Addresses()
		every(t, openStore(t, cfg), consul.ErrCertificate, "kv.cacertfile", cfg.Addresses[0])
	})
}

func TestNew_namesTheFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for name, change := range map[string]func(cfg *consul.Config){
		missing:         func(cfg *consul.Config) { cfg.TokenFile = missing },
		empty:           func(cfg *consul.Config) { cfg.TokenFile = empty },
		"kv.cacertfile": func(cfg *consul.Config) { cfg.HTTPS, cfg.CAFile = true, missing },
		"kv.certfile":   func(cfg *consul.Config) { cfg.HTTPS, cfg.CertFile, cfg.KeyFile = true, missing, missing },
	} {
		cfg := consul.Defaults()
		cfg.Addresses = []string{"127.0.0.1:8500"}
		change(&cfg)
		if _, err := consul.New(discard(), cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New with %s: %v", name, err)
		}
	}
}

func TestToken_isReadAgainWhenTheFileChanges(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{ACL: true})
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("deadbeef-0000-4000-8000-000000000003")
	cfg := settings(c)
	cfg.TokenFile = file
	s := openStore(t, cfg)
	_, err := s.Apply(within(t), store.Set("k", nil))
	wantError(t, "Apply with the wrong token", err, store.ErrDenied)
	write(consultest.Token)
	if _, err := s.Apply(within(t), store.Set("k", nil)); err != nil {
		t.Errorf("Apply with the right token: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(within(t), store.Set("k", nil)); err != nil {
		t.Errorf("Apply while the file is away: %v", err)
	}
}

func TestApply_refusesWhatConsulCannotTake(t *testing.T) {
	t.Parallel()
	s := openStore(t, settings(consultest.Start(t, 1, consultest.Options{})))
	var many []store.Op
	for i := range 129 {
		many = append(many, store.Set(strings.Repeat("k", i+1), nil))
	}
	_, err := s.Apply(within(t), many...)
	wantError(t, "129 ops", err, store.ErrTooLarge, "129", "128")
	_, err = s.Apply(within(t), store.Set("k", make([]byte, 512<<10)))
	wantError(t, "half a megabyte", err, store.ErrTooLarge, "524288")
	if _, err := s.Apply(within(t), many[:128]...); err != nil {
		t.Errorf("128 ops: %v", err)
	}
	// As much as the own check lets pass, Consul takes.
	if _, err := s.Apply(within(t), store.Set("k", make([]byte, 392_900))); err != nil {
		t.Errorf("as much as fits: %v", err)
	}
}
