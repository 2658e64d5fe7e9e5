package e2e

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// failed has what hosts and clusters reported. It is printed again when all is over:
// the engines' logs of a test that failed are long, and stand between.
var failed failures

// failures is what tests failed of, in order.
type failures struct {
	mu       sync.Mutex // guards messages
	messages []string
}

func (f *failures) add(t *testing.T, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, t.Name()+": "+strings.TrimSpace(message))
}

func (f *failures) print(w io.Writer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.messages) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "==> what failed\n%s\n", strings.Join(f.messages, "\n"))
	return err
}

// reporter is the test of a host or cluster; what it reports is kept for the end.
type reporter struct {
	*testing.T
}

// Error is [testing.T.Error].
func (r reporter) Error(args ...any) {
	r.Helper()
	failed.add(r.T, fmt.Sprintln(args...))
	r.T.Error(args...)
}

// Errorf is [testing.T.Errorf].
func (r reporter) Errorf(format string, args ...any) {
	r.Helper()
	failed.add(r.T, fmt.Sprintf(format, args...))
	r.T.Errorf(format, args...)
}

// Fatal is [testing.T.Fatal].
func (r reporter) Fatal(args ...any) {
	r.Helper()
	failed.add(r.T, fmt.Sprintln(args...))
	r.T.Fatal(args...)
}

// Fatalf is [testing.T.Fatalf].
func (r reporter) Fatalf(format string, args ...any) {
	r.Helper()
	failed.add(r.T, fmt.Sprintf(format, args...))
	r.T.Fatalf(format, args...)
}
