package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// within returns what f does in another network namespace. A socket stays in that which
// its thread was in when it was made.
func within[T any](namespace string, f func() (T, error)) (T, error) {
	var (
		done   = make(chan struct{})
		result T
		err    error
	)
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		var file *os.File
		if file, err = os.Open(namespace); err != nil {
			return
		}
		if err = errors.Join(unix.Setns(int(file.Fd()), unix.CLONE_NEWNET), file.Close()); err != nil {
			err = fmt.Errorf("enter %s: %w", namespace, err)
			return
		}
		result, err = f()
	}()
	<-done
	return result, err
}

// dialWithin connects from another network namespace.
func dialWithin(ctx context.Context, namespace, protocol, target string) (net.Conn, error) {
	return within(namespace, func() (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, protocol, target)
	})
}

// netInterface is an interface of a network namespace.
type netInterface struct {
	name, mac string
	addrs     []netip.Addr
}

// interfacesIn returns the interfaces that a network namespace has.
func interfacesIn(namespace string) ([]netInterface, error) {
	return within(namespace, func() ([]netInterface, error) {
		links, err := net.Interfaces()
		if err != nil {
			return nil, err
		}
		var all []netInterface
		for _, l := range links {
			one := netInterface{name: l.Name, mac: l.HardwareAddr.String()}
			addrs, err := l.Addrs()
			if err != nil {
				return nil, err
			}
			for _, a := range addrs {
				prefix, err := netip.ParsePrefix(a.String())
				if err != nil {
					return nil, err
				}
				one.addrs = append(one.addrs, prefix.Addr())
			}
			all = append(all, one)
		}
		return all, nil
	})
}
