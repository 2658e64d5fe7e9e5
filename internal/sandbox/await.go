package sandbox

import (
	"context"
	"errors"
	"fmt"
)

// Await waits until there is a namespace at the key. Engines up to 27 make it after
// they have asked for the container's interfaces, and tell nobody. It takes a thread
// while it waits.
func (s *Sandboxes) Await(ctx context.Context, key string) error {
	// Opened before the first look.
	changes, err := openMounts(s.mounts)
	if err != nil {
		return fmt.Errorf("wait for sandbox %s: %w", key, err)
	}
	defer changes.close()
	for {
		_, err := identify(s.fs.Path(key))
		if !errors.Is(err, ErrGone) {
			return err
		}
		if err := changes.wait(ctx); err != nil {
			return fmt.Errorf("wait for sandbox %s: %w", key, err)
		}
	}
}
