package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/docker/go-plugins-helpers/sdk"
	"github.com/sirupsen/logrus"

	"github.com/ournet/ournet/driver"
	"github.com/ournet/ournet/internal/admin"
)

const (
	// verbDeadline is what each verb has before its context ends.
	verbDeadline = 5 * time.Second
	// verbGrace is what a verb may take after that to undo what it began, before
	// it is answered for. The sum stays under 10 s, after which an engine that
	// starts gives a plugin up.
	verbGrace = 3 * time.Second
)

// Handler answers Docker's two plugin protocols, NetworkDriver and IpamDriver,
// on one address. It is an [http.Handler].
type Handler struct {
	log      logrus.FieldLogger
	deadline time.Duration               // verbDeadline, less in tests
	grace    time.Duration               // verbGrace, less in tests
	paths    map[string]http.HandlerFunc // fixed once made
	stats    *durations
	verbs    *networkVerbs
	ipam     *ipamVerbs
	rivals   *rivals
	running  sync.WaitGroup // verbs under way
}

// NewHandler returns a handler that acts on networks and addresses.
func NewHandler(log logrus.FieldLogger, networks Networks, addresses Addresses) *Handler {
	h := &Handler{log: log, deadline: verbDeadline, grace: verbGrace, paths: make(map[string]http.HandlerFunc), stats: newDurations(), rivals: newRivals()}
	h.read(admin.StatsPath, func() any { return h.stats.snapshot() })
	h.read(admin.NetworksPath, func() any { return adminNetworks(networks.All(), addresses.Pools()) })
	h.registerCluster(noCluster{})
	route(h, "Plugin.Activate", bodyIgnored, activate)
	h.verbs = &networkVerbs{log: log, networks: networks, addresses: addresses, fabric: noFabric{}, names: noNames{}, rivals: h.rivals, now: time.Now}
	h.verbs.register(h)
	h.ipam = &ipamVerbs{addresses: addresses, rivals: h.rivals, explain: func(err error) error { return err }}
	h.ipam.register(h)
	return h
}

// activateResponse is the manifest of the plugin (moby pkg/plugins/plugins.go).
type activateResponse struct {
	Implements []string
}

// activate answers the handshake of a plugin that was found by its socket. A
// managed plugin is never asked.
func activate(context.Context, *struct{}) (activateResponse, error) {
	return activateResponse{Implements: []string{"NetworkDriver", "IpamDriver"}}, nil
}

// ServeHTTP answers one request. Every answer is JSON, an error is {"Err": text}.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, ok := h.paths[r.URL.Path]
	if !ok {
		// The engine takes 404 for "this plugin is too old for that".
		h.refuse(w, http.StatusNotFound, "this plugin has no "+r.URL.Path)
		return
	}
	serve(w, r)
}

// Wait returns when no verb is under way any more. Call it after [Serve].
func (h *Handler) Wait() { h.running.Wait() }

// Stats returns the durations of all verbs so far.
func (h *Handler) Stats() map[string]VerbStats { return h.stats.snapshot() }

// verb registers do as the answer to POST /name.
func (h *Handler) verb(name string, do call) {
	h.paths["/"+name] = func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		var (
			resp any
			body []byte
			err  error
		)
		if body, err = readBody(w, r); err == nil {
			// Not the connection's context: an engine that goes away in the
			// middle must not leave half a network behind.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.deadline)
			defer cancel()
			resp, err = h.run(ctx, do, body)
		}
		took := time.Since(began)
		h.stats.record(name, took, err != nil)
		h.report(name, body, took, err)
		if err == nil {
			h.reply(w, http.StatusOK, resp)
			return
		}
		h.refuse(w, statusOf(err), err.Error())
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, &requestError{http.StatusMethodNotAllowed, errors.New("the plugin protocol is spoken with POST")}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &requestError{http.StatusRequestEntityTooLarge, errors.New("the request is larger than 1 MiB")}
	case err != nil:
		return nil, &requestError{http.StatusBadRequest, err}
	default:
		return body, nil
	}
}

func statusOf(err error) int {
	if rerr, ok := errors.AsType[*requestError](err); ok {
		return rerr.status
	}
	return http.StatusInternalServerError
}

// report logs a verb: the only place where its error stops travelling.
func (h *Handler) report(name string, body []byte, took time.Duration, err error) {
	log := h.log.WithFields(subject(body)).WithFields(logrus.Fields{"verb": name, "took": took.Round(time.Microsecond).String()})
	if err == nil {
		log.Debug("request answered")
		return
	}
	log = log.WithError(err)
	if perr, ok := errors.AsType[*panicError](err); ok {
		log.WithField("stack", string(perr.stack)).Error("request panicked")
		return
	}
	log.Warn("request failed")
}

// subject returns what the request is about, as far as that can be read.
func subject(body []byte) logrus.Fields {
	var ids struct{ NetworkID, EndpointID, PoolID, Address string }
	if len(body) > 0 {
		_ = json.Unmarshal(body, &ids) // for the log alone; decode has judged the body
	}
	fields := logrus.Fields{}
	for name, value := range map[string]string{
		"network":  driver.NetworkID(ids.NetworkID).Short(),
		"endpoint": driver.EndpointID(ids.EndpointID).Short(),
		"pool":     ids.PoolID,
		"address":  ids.Address,
	} {
		if value != "" {
			fields[name] = value
		}
	}
	return fields
}

// refuse answers with an error in the form that both protocols understand: with
// a status other than 200 the engine takes the text from "Err", whereas with 200
// the address manager's would have to be in "Error".
func (h *Handler) refuse(w http.ResponseWriter, status int, text string) {
	h.reply(w, status, struct{ Err string }{text})
}

func (h *Handler) reply(w http.ResponseWriter, status int, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		h.log.WithError(err).Error("reply cannot be encoded")
		status, b = http.StatusInternalServerError, []byte(`{"Err":"internal error: reply cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", sdk.DefaultContentTypeV1_1)
	w.WriteHeader(status)
	if _, err := w.Write(append(b, '\n')); err != nil {
		h.log.WithError(err).Debug("engine did not wait for the reply")
	}
}
