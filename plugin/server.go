package plugin

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// The limits of the server. A reply has to be written before writeTimeout, which
// therefore is longer than a verb may take. headerTimeout also counts on a new
// connection that has nothing to say yet, and is long for the same reason that
// there is no limit for idle ones; see [Serve].
const (
	headerTimeout   = 10 * time.Minute
	writeTimeout    = 15 * time.Second
	shutdownTimeout = 3 * time.Second
	maxHeader       = 16 << 10
)

// Serve answers requests on all listeners until ctx ends or one of them fails,
// then closes them all and gives the verbs under way three seconds to finish.
func Serve(ctx context.Context, h *Handler, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		// No limit for idle connections: were one closed just when the engine
		// writes on it, the engine would repeat the request without its body.
		// Only root can open any.
		IdleTimeout:    -1,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       stdlog.New(logWriter{h.log}, "", 0),
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-gctx.Done()
		return shutdown(ctx, srv)
	})
	return group.Wait()
}

func shutdown(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.Join(fmt.Errorf("requests still under way after %s", shutdownTimeout), srv.Close())
	}
	return err
}

// logWriter gives what net/http has to say, broken connections mostly, to our log.
type logWriter struct{ log logrus.FieldLogger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.WithField("source", "net/http").Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}
