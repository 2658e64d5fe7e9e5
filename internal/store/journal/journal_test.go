package journal_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ournet/ournet/internal/consultest"
	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/internal/store/consul"
	"github.com/ournet/ournet/internal/store/journal"
	"github.com/ournet/ournet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should not take long; reaching it is a failure.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// run runs the journal until the returned function is called.
func run(t *testing.T, j *journal.Journal) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}
}

// wantValue waits until a key of a store has the value, or, if it is "", is gone.
func wantValue(t *testing.T, kv store.KV, key, value string) {
	t.Helper()
	var after store.Index
	for {
		pairs, index, err := kv.List(within(t), key, after)
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("wait for %s = %q: %v", key, value, err)
		}
		have := ""
		for _, p := range pairs {
			if p.Key == key {
				have = string(p.Value)
			}
		}
		if err == nil && have == value {
			return
		}
		after = index
	}
}

func TestRun_saysWhatIsTold(t *testing.T) {
	t.Parallel()
	local, cluster := memstore.New(), memstore.New()
	j := journal.New(discard(), local, cluster, fence)
	defer run(t, j)()
	for i := range 100 {
		if err := j.Say(t.Context(), store.Set("k", fmt.Append(nil, i))); err != nil {
			t.Fatal(err)
		}
	}
	wantValue(t, cluster, "k", "99")
	if err := j.Say(t.Context(), store.Delete("k"), store.Set("l", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	wantValue(t, cluster, "l", "1")
	wantValue(t, cluster, "k", "")
}

func TestRun_goesOnWhenTheClusterStoreIsBack(t *testing.T) {
	t.Parallel()
	cluster := &flaky{Store: memstore.New(), fates: []fate{refused, done, refused, done, lost, done, late}}
	j := journal.New(discard(), memstore.New(), cluster, fence)
	if err := j.Say(t.Context(), store.Set("k", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	defer run(t, j)()
	wantValue(t, cluster.Store, "k", "1")
}

func TestSay_isKeptOverARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	open := func() *boltstore.Store {
		local, err := boltstore.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return local
	}
	cluster := &flaky{Store: memstore.New(), fates: []fate{refused}}
	local := open()
	j := journal.New(discard(), local, cluster, fence)
	if err := j.Say(t.Context(), store.Set("k", []byte("1")), store.Delete("l")); err != nil {
		t.Fatal(err)
	}
	if err := j.Replay(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Replay to a store that is away: %v", err)
	}
	if err := local.Close(); err != nil {
		t.Fatal(err)
	}
	local = open()
	defer local.Close() //nolint:errcheck // the test is over
	j = journal.New(discard(), local, cluster, fence)
	if n, err := j.Pending(t.Context()); err != nil || n != 2 {
		t.Errorf("after a restart %d keys are pending, %v", n, err)
	}
	if err := j.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantValue(t, cluster, "k", "1")
	if n, err := j.Pending(t.Context()); err != nil || n != 0 {
		t.Errorf("after it was said %d keys are pending, %v", n, err)
	}
}

func TestSay_refusesWhatCannotBeSaidLater(t *testing.T) {
	t.Parallel()
	j := journal.New(discard(), memstore.New(), memstore.New(), fence)
	var many []store.Op
	for i := range 32 {
		many = append(many, store.Set(strconv.Itoa(i), nil))
	}
	for name, ops := range map[string][]store.Op{
		"a condition":      {store.CAS("k", nil, 0)},
		"a check":          {store.Check("k", 0)},
		"for a lease":      {store.Hold("k", nil, "lease")},
		"the fence":        {store.Set(fence, nil)},
		"a key that is no": {store.Set("/k", nil)},
		"too many":         many,
		"too much":         {store.Set("k", []byte(strings.Repeat("x", 250<<10)))},
	} {
		if err := j.Say(t.Context(), ops...); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := j.Say(t.Context()); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if n, err := j.Pending(t.Context()); err != nil || n != 0 {
		t.Errorf("%d keys are pending, %v", n, err)
	}
}

func TestSay_isBounded(t *testing.T) {
	t.Parallel()
	j := journal.New(discard(), memstore.New(), memstore.New(), fence)
	j.SetMost(2)
	for range 3 { // newer values of old keys take no room
		if err := j.Say(t.Context(), store.Set("a", nil), store.Delete("b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Say(t.Context(), store.Set("a", nil), store.Set("c", nil)); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a third key: %v, want ErrFull", err)
	}
	if err := j.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := j.Say(t.Context(), store.Set("c", nil)); err != nil {
		t.Errorf("after all was said: %v", err)
	}
}

// open returns the cluster store that c keeps, until the test ends.
func open(t *testing.T, c *consultest.Cluster) *consul.Store {
	t.Helper()
	cfg := consul.Defaults()
	cfg.Addresses = c.Addresses()
	cluster, err := consul.New(discard(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() }) // the test is over
	return cluster
}

// As much as one call may tell fits through Consul, and many calls are cut into what
// fits.
func TestReplay_fitsThroughConsul(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	cluster := open(t, c)
	j := journal.New(discard(), memstore.New(), cluster, fence)
	big := []byte(strings.Repeat("x", 7<<10))
	for call := range 3 {
		var ops []store.Op
		for i := range 31 {
			ops = append(ops, store.Set(fmt.Sprintf("big/%d/%d", call, i), big))
		}
		if err := j.Say(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if err := j.Say(t.Context(), store.Set(fmt.Sprintf("small/%d", i), []byte("1"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Replay(within(t)); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]int{"big/": 93, "small/": 200} {
		if pairs, _, err := cluster.List(within(t), prefix, 0); err != nil || len(pairs) != want {
			t.Errorf("%d keys below %s, %v; want %d", len(pairs), prefix, err, want)
		}
	}
}

// The whole way: Consul is away while the host speaks, and the host starts again
// before Consul does.
func TestRun_saysWhatItMissedWhenConsulIsBack(t *testing.T) {
	t.Parallel()
	c := consultest.Start(t, 1, consultest.Options{})
	cluster := open(t, c)
	local := memstore.New()
	say := func(j *journal.Journal, ops ...store.Op) {
		t.Helper()
		if err := j.Say(within(t), ops...); err != nil {
			t.Fatal(err)
		}
	}

	j := journal.New(discard(), local, cluster, fence)
	stop := run(t, j)
	say(j, store.Set("a", []byte("1")), store.Set("b", []byte("1")))
	wantValue(t, cluster, "b", "1")
	c.Servers[0].Kill(t)
	say(j, store.Set("a", []byte("2")))
	stop()
	j = journal.New(discard(), local, cluster, fence)
	defer run(t, j)()
	say(j, store.Set("a", []byte("3")), store.Delete("b"), store.Set("c", []byte("1")))
	c.Servers[0].Start(t)
	wantValue(t, cluster, "a", "3")
	wantValue(t, cluster, "b", "")
	wantValue(t, cluster, "c", "1")
}
