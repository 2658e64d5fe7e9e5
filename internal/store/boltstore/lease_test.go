package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/internal/store/storetest"
)

func TestStore_meetsTheContractOfLeases(t *testing.T) {
	t.Parallel()
	storetest.RunLeases(t, func(t *testing.T) storetest.LeaseStore {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "ournet.db"))
	})
}

// A file that is closed without the end of its leases is what a crash leaves.
func TestOpen_freesWhatLeasesHeldBefore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	s := open(t, path)
	stays, goes := take(t, s, store.Release), take(t, s, store.Remove)
	last, err := s.Apply(t.Context(), store.Hold("a/stays", []byte("1"), stays.ID()),
		store.Hold("a/goes", []byte("2"), goes.ID()), store.Set("a/free", []byte("3")))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, lease := range []store.Lease{stays, goes} {
		select {
		case <-lease.Done():
		default:
			t.Error("a lease outlives its store")
		}
	}

	s = open(t, path)
	pairs, index, err := s.List(t.Context(), "a/", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) != 2 || pairs[0].Key != "a/free" || pairs[1].Key != "a/stays" || pairs[1].Lease != "" {
		t.Errorf("after opening anew: %+v", pairs)
	}
	if pairs[0].Index != last || pairs[1].Index <= last || index < pairs[1].Index {
		t.Errorf("index %d, last write before at %d, pairs %+v", index, last, pairs)
	}
	again := take(t, s, store.Release)
	if _, err := s.Apply(t.Context(), store.Hold("a/stays", []byte("4"), again.ID())); err != nil {
		t.Errorf("hold the freed key: %v", err)
	}
}

func take(t *testing.T, s *boltstore.Store, onLoss store.OnLoss) store.Lease {
	t.Helper()
	lease, err := s.Lease(t.Context(), store.LeaseOptions{Name: "test", TTL: time.Minute, OnLoss: onLoss})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}
