package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// floor is somebody who writes a key, and watchers that wait for it by blocking queries.
// Nobody who keeps to Consul hears of anything sooner.
type floor struct {
	// key is the key's address; nothing of ournet's is there.
	key      string
	writer   http.Client
	watchers int
	wrote    int
	heard    chan heard
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

// heard is what one watcher saw, and when.
type heard struct {
	value string
	at    time.Time
}

// newFloor starts the watchers, each with a connection of its own as a host has.
func newFloor(ctx context.Context, address string, watchers int) (*floor, error) {
	running, cancel := context.WithCancel(ctx)
	f := &floor{
		key: "http://" + address + "/v1/kv/floor", writer: http.Client{Transport: &http.Transport{}},
		watchers: watchers, heard: make(chan heard, watchers), cancel: cancel,
	}
	if err := f.put(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	for range watchers {
		f.running.Go(func() {
			if err := f.watch(running); running.Err() == nil {
				f.mu.Lock()
				f.errs = append(f.errs, err)
				f.mu.Unlock()
			}
		})
	}
	if _, err := f.collect(ctx, time.Now()); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// put writes the key.
func (f *floor) put(ctx context.Context) error {
	if _, _, err := f.ask(ctx, &f.writer, http.MethodPut, f.key, strconv.Itoa(f.wrote)); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

// ask asks Consul, and returns its answer and index.
func (f *floor) ask(ctx context.Context, c *http.Client, method, url, body string) (answer, index string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), resp.Header.Get("X-Consul-Index"), err
}

// watch tells of each value, until ctx ends.
func (f *floor) watch(ctx context.Context) error {
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	after := "0"
	for {
		value, index, err := f.ask(ctx, c, http.MethodGet, f.key+"?raw&stale&wait=60s&index="+after, "")
		if err != nil {
			return fmt.Errorf("wait for the key: %w", err)
		}
		if index == after {
			continue
		}
		after = index
		select {
		case f.heard <- heard{value, time.Now()}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write writes the key, and returns how long after that each watcher saw it.
func (f *floor) write(ctx context.Context) ([]time.Duration, error) {
	f.wrote++
	began := time.Now()
	if err := f.put(ctx); err != nil {
		return nil, err
	}
	return f.collect(ctx, began)
}

func (f *floor) collect(ctx context.Context, began time.Time) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := make([]time.Duration, 0, f.watchers)
	for len(all) < f.watchers {
		select {
		case h := <-f.heard:
			if h.value == strconv.Itoa(f.wrote) {
				all = append(all, h.at.Sub(began))
			}
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			return nil, fmt.Errorf("%d of %d watchers saw the key: %w", len(all), f.watchers, errors.Join(append(f.errs, ctx.Err())...))
		}
	}
	return all, nil
}

func (f *floor) close() error {
	f.cancel()
	f.running.Wait()
	f.writer.CloseIdleConnections()
	return errors.Join(f.errs...)
}
