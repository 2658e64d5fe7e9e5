package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ournet/ournet/internal/store"
	"github.com/ournet/ournet/internal/store/boltstore"
	"github.com/ournet/ournet/internal/store/storetest"
)

// childVerb makes the test binary write without end, to be killed; see
// [TestOpen_afterSIGKILLEveryAcknowledgedWriteIsThere].
const childVerb = "write-until-killed"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childVerb {
		if err := writeUntilKilled(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(t.Context(), path)
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
	storetest.Run(t, func(t *testing.T) store.KV {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "state", "ournet.db"))
	})
}

func TestOpen_keepsValuesAndIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	s := open(t, path)
	first, err := s.Apply(t.Context(), store.Set("a", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Apply(t.Context(), store.Set("b", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	deleted, err := s.Apply(t.Context(), store.Delete("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err = s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path)
	got, err := s.Get(t.Context(), "a")
	if err != nil || string(got.Value) != "1" || got.Index != first {
		t.Errorf("Get = %+v, %v, want value 1 at %d", got, err, first)
	}
	// What was deleted before is not known any more: behind means changed.
	if _, index, err := s.List(t.Context(), "b", first); err != nil || index != deleted {
		t.Errorf("List = index %d, %v, want %d at once", index, err, deleted)
	}
	next, err := s.Apply(t.Context(), store.Set("c", nil))
	if err != nil || next <= deleted {
		t.Errorf("index after reopening = %d, %v, want more than %d", next, err, deleted)
	}
}

func TestOpen_lockedFileNamesItself(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	open(t, path)
	began := time.Now()
	_, err := boltstore.Open(t.Context(), path)
	if !errors.Is(err, boltstore.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Open: %v, want ErrLocked naming %s", err, path)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("second Open took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := boltstore.Open(ctx, path); err == nil {
		t.Error("Open with an ended context succeeded")
	}
}

func TestOpen_damagedFileIsAnErrorWithRemedy(t *testing.T) {
	t.Parallel()
	sound := soundFile(t)
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"text", func([]byte) []byte { return []byte(strings.Repeat("no store, but quite long enough to be one\n", 500)) }},
		{"one byte", func([]byte) []byte { return []byte{1} }},
		{"cut to a page", func(b []byte) []byte { return b[:4096] }},
		{"cut in a page", func(b []byte) []byte { return b[:10*4096+100] }},
		{"zero pages", func(b []byte) []byte { clear(b[2*4096:]); return b }},
		{"zero headers", func(b []byte) []byte { clear(b[:2*4096]); return b }},
		{"garbage pages", func(b []byte) []byte {
			for i := 2 * 4096; i < len(b); i++ {
				b[i] = byte(i * 7)
			}
			return b
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ournet.db")
			if err := os.WriteFile(path, tc.damage(append([]byte(nil), sound...)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := boltstore.Open(t.Context(), path)
			if !errors.Is(err, boltstore.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") {
				t.Fatalf("Open: %v, want ErrDamaged with name and remedy", err)
			}
			// The remedy works in this very process: no lock was left behind.
			if err := os.WriteFile(path, sound, 0o600); err != nil {
				t.Fatal(err)
			}
			open(t, path)
		})
	}
}

// A file may be cut anywhere by a full disk or a broken copy; wherever that is,
// it is found at once and not by a fault at some later read.
func TestOpen_cutFileIsDamaged(t *testing.T) {
	t.Parallel()
	sound := soundFile(t)
	path := filepath.Join(t.TempDir(), "ournet.db")
	damaged := 0
	for size := 4096; size < len(sound); size += 4096 {
		if err := os.WriteFile(path, sound[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := boltstore.Open(t.Context(), path)
		switch {
		case err == nil: // the rest was room that is not in use yet
			if got, getErr := s.Get(t.Context(), "k/199"); getErr != nil || len(got.Value) != 200 {
				t.Errorf("cut to %d: %v", size, getErr)
			}
			if err = s.Close(); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, boltstore.ErrDamaged):
			damaged++
		default:
			t.Errorf("cut to %d: %v", size, err)
		}
	}
	if damaged < 10 {
		t.Errorf("only %d of the cuts were found", damaged)
	}
}

func soundFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ournet.db")
	s := open(t, path)
	for i := range 200 {
		if _, err := s.Apply(t.Context(), store.Set(fmt.Sprintf("k/%d", i), []byte(strings.Repeat("v", 200)))); err != nil {
			t.Fatal(err)
		}
	}
	// Holes low in the file, in one of which its list of free pages then lies.
	for i := range 100 {
		if _, err := s.Apply(t.Context(), store.Delete(fmt.Sprintf("k/%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen_unreadablePathIsAnError(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := boltstore.Open(t.Context(), folder); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("Open of a folder: %v", err)
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Open(t.Context(), filepath.Join(file, "ournet.db")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open below a file: %v", err)
	}
}

func TestClose_endsWaitersAndRefusesCalls(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "ournet.db"))
	at, err := s.Apply(t.Context(), store.Set("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, _, err := s.List(t.Context(), "a", at)
		waiting <- err
	}()
	if err = s.Close(); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(t.Context(), "a")
	_, _, listErr := s.List(t.Context(), "a", 0)
	_, applyErr := s.Apply(t.Context(), store.Set("a", nil))
	for name, err := range map[string]error{"waiting List": <-waiting, "Get": getErr, "List": listErr, "Apply": applyErr} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

func TestApply_acknowledgedBeforeCloseIsKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	s := open(t, path)
	acked := make([]bool, 100)
	var g errgroup.Group
	for i := range acked {
		g.Go(func() error {
			_, err := s.Apply(t.Context(), store.Set(strconv.Itoa(i), nil))
			acked[i] = err == nil
			if errors.Is(err, store.ErrClosed) {
				return nil
			}
			return err
		})
	}
	g.Go(s.Close)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	for i, yes := range acked {
		if _, err := s.Get(t.Context(), strconv.Itoa(i)); yes != (err == nil) {
			t.Errorf("key %d: acknowledged %v, then Get: %v", i, yes, err)
		}
	}
}

func TestOpen_afterSIGKILLEveryAcknowledgedWriteIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ournet.db")
	acked := make(map[string]bool)
	for round := range 3 {
		for _, key := range killWriter(t, path, 150*(round+1)) {
			acked[key] = true
		}
		s := open(t, path)
		for key := range acked {
			if _, err := s.Get(t.Context(), key); err != nil {
				t.Fatalf("round %d: %d writes were acknowledged, but: %v", round, len(acked), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter runs a writing child, kills it after count acknowledged writes, and
// returns every key that it had acknowledged by then.
func killWriter(t *testing.T, path string, count int) []string {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], childVerb, path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = child.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		keys = append(keys, lines.Text())
		if len(keys) == count {
			if err = child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err = child.Wait(); err == nil || len(keys) < count {
		t.Fatalf("child ended by itself after %d writes: %v", len(keys), err)
	}
	return keys
}

// writeUntilKilled prints each key, on a line of its own, once it is acknowledged.
func writeUntilKilled(path string) error {
	s, err := boltstore.Open(context.Background(), path)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(context.Background())
	for worker := range 8 {
		g.Go(func() error {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d/%d/%d", os.Getpid(), worker, i)
				if _, err := s.Apply(ctx, store.Set(key, []byte(strings.Repeat("v", i%300)))); err != nil {
					return err
				}
				if _, err := os.Stdout.WriteString(key + "\n"); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// BenchmarkApply shows the group commit: 200 writers together take little longer
// for each write than one alone takes for one.
func BenchmarkApply(b *testing.B) {
	for _, writers := range []int{1, 8, 200} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := boltstore.Open(b.Context(), filepath.Join(b.TempDir(), "ournet.db"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			})
			var g errgroup.Group
			for w := range writers {
				g.Go(func() error {
					for i := w; i < b.N; i += writers {
						if _, err := s.Apply(b.Context(), store.Set("k/"+strconv.Itoa(i), []byte("value"))); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
