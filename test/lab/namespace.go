package lab

import (
	"context"
	"fmt"
)

// Namespace returns the file of the machine's network namespace, as the lab's owner
// sees it. It is another one after every boot.
func (m *Machine) Namespace() (string, error) {
	first, err := m.first()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/ns/net", first.PID), nil
}

// InNamespace runs one of this machine's programs in the network namespace of a file,
// which may be a container's, and returns its standard output. If it fails the error is
// a [*CommandError].
func InNamespace(ctx context.Context, file string, argv ...string) (string, error) {
	return run(command(ctx, append([]string{"nsenter", "--net=" + file, "--"}, argv...)), argv)
}

// StartInNamespace is [InNamespace] in the background.
func StartInNamespace(ctx context.Context, file string, argv ...string) (*Running, error) {
	return background(command(ctx, append([]string{"nsenter", "--net=" + file, "--"}, argv...)), argv)
}
