package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/ournet/ournet/internal/store"
)

// A write may only be sent again, or told to have failed, if it certainly was not done.
func TestMaybeDone_onlyWhatIsCertainIsNot(t *testing.T) {
	t.Parallel()
	v := &servers{}
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"connection refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false},
		{"no such host", &net.DNSError{Err: "no such host"}, false},
		{"no leader", errors.New("Failed request: No cluster leader"), false},
		{"not the leader", errors.New("Failed request: node is not the leader"), false},
		{"too many", errors.New("Unexpected response code: 429 (Your IP is issuing too many concurrent connections)"), false},
		{"denied", errors.New("Failed request: Permission denied: token lacks permission"), false},
		{"too large", errors.New("Failed request: Request body(9 bytes) too large, max size: 8 bytes"), false},
		{"conflict", fmt.Errorf("%w: %w", store.ErrConflict, errRolledBack), false},
		{"leadership lost", errors.New("Failed request: leadership lost while committing log"), true},
		{"the leader is gone", errors.New("Failed request: rpc error making call: EOF"), true},
		{"connection reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{"connection closed", io.ErrUnexpectedEOF, true},
		{"silence", errSilent, true},
		{"cut off", errAlone, true},
		{"canceled", context.Canceled, true},
		{"what nobody has seen yet", errors.New("Failed request: the moon is full"), true},
	} {
		if got := maybeDone(v.explain(t.Context(), "10.0.0.1:8500", tc.err)); got != tc.want {
			t.Errorf("%s: maybe done is %t, want %t", tc.name, got, tc.want)
		}
	}
}
