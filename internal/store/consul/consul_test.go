package consul_test

import (
	"crypto/rand"
	"io"
	"testing"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/consul"
	"github.com/ournet/ournet/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are those of a store in a folder of its own in the cluster.
func settings(c *consultest.Cluster) consul.Config {
	cfg := consul.Defaults()
	cfg.Addresses = c.Addresses()
	cfg.Prefix = "ournet/" + rand.Text()
	return cfg
}

func discard() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func openStore(t *testing.T, cfg consul.Config) *consul.Store {
	t.Helper()
	s, err := consul.New(discard(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore_meetsTheContract(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	storetest.Run(t, func(t *testing.T) store.KV {
		t.Helper()
		return openStore(t, settings(c))
	})
}

// The contract of leases is tried with TLS and ACLs on, and a token that may do what
// the documentation says and no more.
func TestStore_meetsTheContractOfLeases(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{ACL: true, TLS: true})
	token := c.Token(t, "ournet", policy)
	storetest.RunLeases(t, func(t *testing.T) storetest.LeaseStore {
		t.Helper()
		return openStore(t, secured(c, token))
	})
}

// secured are the settings for a cluster with TLS and ACLs.
func secured(c *consultest.Cluster, token string) consul.Config {
	cfg := settings(c)
	cfg.Token = token
	cfg.HTTPS, cfg.CAFile, cfg.CertFile, cfg.KeyFile = true, c.CAFile, c.CertFile, c.KeyFile
	return cfg
}

// policy is what ournet's token has to allow: docs/adr/0013-consul.md.
const policy = `
key_prefix "ournet/" { policy = "write" }
session_prefix "" { policy = "write" }
`
