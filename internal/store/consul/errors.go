package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/ournet/ournet/internal/store"
)

// What can be wrong between us and Consul; test with [errors.Is]. Each is said with
// the address and with what to do.
var (
	// ErrUnreachable says that no server answers.
	ErrUnreachable = fmt.Errorf("consul does not answer: %w", store.ErrUnavailable)
	// ErrNoLeader says that the servers have no leader.
	ErrNoLeader = fmt.Errorf("consul has no leader: %w", store.ErrUnavailable)
	// ErrCertificate says that one side does not take the other's certificate.
	ErrCertificate = errors.New("no TLS with Consul")
)

// Why we stop asking a server that has not answered.
var (
	errSilent = errors.New("no answer in time")
	errAlone  = errors.New("it knows no leader")
)

// errRolledBack marks what Consul says that it did not do.
var errRolledBack = errors.New("rolled back")

// denied says that Consul refused us, and why.
func (v *servers) denied(why error) error {
	return fmt.Errorf("consul refuses the ACL token (%w): %w: set kv.tokenfile or CONSUL_HTTP_TOKEN to a token that may "+
		"write key_prefix %q and session_prefix %q", why, store.ErrDenied, v.cfg.Prefix+"/", "")
}

// explain turns what the client says of one attempt into one of the errors above.
// Its own errors are texts, so they are known by Consul's source. ctx is the
// attempt's own.
func (v *servers) explain(ctx context.Context, address string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// The cause is better than "context canceled".
		err = context.Cause(ctx)
	}
	if strings.Contains(err.Error(), "\n") {
		err = lineError{err}
	}
	text := err.Error()
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrLeaseLost), errors.Is(err, store.ErrDenied):
		return err
	case isCertificate(err):
		return fmt.Errorf("%w at %s: %w: check kv.cacertfile, kv.certfile and kv.keyfile, and the address", ErrCertificate, address, err)
	case isDenied(text):
		return v.denied(err)
	case errors.Is(err, errAlone), isNoLeader(text):
		return fmt.Errorf("%w (asked %s: %w): more than half of its servers have to run and reach each other", ErrNoLeader, address, err)
	case isNetwork(err):
		return fmt.Errorf("%w at %s (%w): check CLUSTER_STORE, that Consul runs there, and what is between", ErrUnreachable, address, err)
	case containsAny(text, "too large", "Request body", "Unexpected response code: 413"):
		return fmt.Errorf("%w: %w", store.ErrTooLarge, err)
	default:
		return fmt.Errorf("consul at %s: %w", address, err)
	}
}

// lineError is an error of others whose text has several.
type lineError struct{ error }

func (e lineError) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

func (e lineError) Unwrap() error { return e.error }

// isDenied knows what agent/acl.go and acl/errors.go say, in an answer of its own or
// among the reasons of a transaction.
func isDenied(text string) bool {
	return containsAny(text, "Permission denied", "ACL not found", "ACL disabled", "token does not exist",
		"Unexpected response code: 401", "Unexpected response code: 403")
}

// isNoLeader knows what agent/structs/errors.go and raft say of a time without a
// leader, and what a server says that just lost its leader.
func isNoLeader(text string) bool {
	return neverDone(text) || containsAny(text, "leadership lost", "rpc error making call", "raft is already shutdown",
		"rpc error getting client", "lead thread didn't get connection", "Raft leader not found", "node is not the leader")
}

// neverDone knows the refusals that come before a write is begun
// (agent/consul/rpc.go, canRetry: "no state could have been changed").
func neverDone(text string) bool {
	return containsAny(text, "No cluster leader", "No known Consul servers", "node is not the leader", "Unexpected response code: 429",
		"rate limit exceeded", "Your IP is issuing too many concurrent connections")
}

// isNetwork reports whether nothing that Consul said is the matter.
func isNetwork(err error) bool {
	if status, ok := errors.AsType[consulapi.StatusError](err); ok {
		return status.Code == http.StatusBadGateway || status.Code == http.StatusServiceUnavailable || status.Code == http.StatusGatewayTimeout
	}
	var netErr net.Error
	return errors.Is(err, errSilent) || errors.As(err, &netErr) || strings.Contains(err.Error(), "EOF")
}

// maybeDone reports whether a write that failed so may have been done: unless it was
// never sent, or Consul says that it was not.
func maybeDone(err error) bool {
	if err == nil || isUnsent(err) || neverDone(err.Error()) {
		return false
	}
	for _, said := range []error{errRolledBack, store.ErrDenied, store.ErrTooLarge, ErrCertificate} {
		if errors.Is(err, said) {
			return false
		}
	}
	return true
}

// isUnsent reports whether the request certainly never reached a server.
func isUnsent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// isCertificate reports whether TLS is the matter, on our side or on Consul's.
func isCertificate(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		header    tls.RecordHeaderError
		alert     tls.AlertError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &header) ||
		errors.As(err, &alert) || containsAny(err.Error(), "server gave HTTP response to HTTPS client",
		"Client sent an HTTP request to an HTTPS server", "remote error: tls:", "x509:")
}
