package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"
)

// maxBody caps a request's body in bytes. The largest that an engine sends, a
// container with thousands of published ports, is a tenth of it.
const maxBody = 1 << 20

// bodyNeed says whether a verb can do without a body.
type bodyNeed int

const (
	// bodyRequired refuses an empty body. The engine repeats a request whose
	// connection broke from a buffer that it has read already, so that the
	// repeated request has none (moby pkg/plugins/client.go, callWithRetry);
	// what the first one asked can no longer be known.
	bodyRequired bodyNeed = iota
	// bodyIgnored is for the verbs that answer the same whatever they are sent;
	// the engine sends most of them without a body.
	bodyIgnored
)

// errEmptyBody is what a verb answers that cannot know what it was asked.
var errEmptyBody = errors.New("the request has no body: the engine lost it when it tried again; repeat the command")

// requestError is an error of the request itself, found before anything was done.
type requestError struct {
	status int
	err    error
}

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// panicError is a panic in a verb, made an error at the edge.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("internal error: %v (the plugin's log has more)", e.value)
}

// call is a verb without its types.
type call func(ctx context.Context, body []byte) (any, error)

// route makes f the answer to POST /name: it decodes the body into a Req and
// encodes what f returns.
func route[Req, Resp any](h *Handler, name string, need bodyNeed, f func(context.Context, *Req) (Resp, error)) {
	h.verb(name, func(ctx context.Context, body []byte) (any, error) {
		req := new(Req)
		if need == bodyIgnored {
			return f(ctx, req)
		}
		if err := decode(body, req); err != nil {
			return nil, err
		}
		return f(ctx, req)
	})
}

// decode reads the whole of body as one JSON value. Fields that it does not know
// are of a later engine and fine; a field of a wrong type is not.
func decode(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &requestError{http.StatusBadRequest, errEmptyBody}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &requestError{http.StatusBadRequest, fmt.Errorf("decode request: %w", nameField(err))}
	}
	return nil
}

// nameField turns a type error of encoding/json, which speaks of Go types, into
// one that speaks of the field.
func nameField(err error) error {
	var terr *json.UnmarshalTypeError
	if !errors.As(err, &terr) {
		return err
	}
	field := terr.Field
	if field == "" {
		field = "(the whole value)"
	}
	return fmt.Errorf("field %s cannot be a JSON %s", field, terr.Value)
}

// run calls do and answers in time even if do does not: the engine waits for a
// plugin without a limit of its own, and one verb that hangs would hang it. A
// verb that is late goes on in the background; the next one on the same network
// waits for its turn there.
func (h *Handler) run(ctx context.Context, do call, body []byte) (any, error) {
	type outcome struct {
		resp any
		err  error
	}
	finished := make(chan outcome, 1)
	h.running.Go(func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o = outcome{err: &panicError{p, debug.Stack()}}
			}
			finished <- o
		}()
		o.resp, o.err = do(ctx, body)
	})
	select {
	case o := <-finished:
		return o.resp, o.err
	case <-ctx.Done():
	}
	patience := time.NewTimer(h.grace)
	defer patience.Stop()
	select {
	case o := <-finished:
		return o.resp, o.err
	case <-patience.C:
		return nil, fmt.Errorf("no result after %s, and still at it: %w", h.deadline+h.grace, ctx.Err())
	}
}
