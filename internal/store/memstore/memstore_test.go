package memstore_test

import (
	"testing"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/memstore"
	"github.com/ournet/ournet/internal/store/storetest"
)

func TestStore_meetsTheContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.KV { return memstore.New() })
}

func TestStore_meetsTheContractOfLeases(t *testing.T) {
	t.Parallel()
	storetest.RunLeases(t, func(*testing.T) storetest.LeaseStore { return memstore.New() })
}
