package engine

import (
	"context"
	"errors"
	"strings"
)

// Container is what the engine's list says of a container.
type Container struct {
	ID   string
	Name string
}

// Containers returns all containers, those that do not run included. The engine
// answers it from a copy of its own, so it does not wait for one that starts.
func (c *Client) Containers(ctx context.Context) (_ []Container, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var list []struct {
		ID    string `json:"Id"`
		Names []string
	}
	if err := s.get(ctx, "/containers/json?all=1", &list); err != nil {
		return nil, err
	}
	all := make([]Container, 0, len(list))
	for _, l := range list {
		container := Container{ID: l.ID}
		for _, name := range l.Names {
			// A link is listed as well, as a name below that of another container.
			if own := strings.TrimPrefix(name, "/"); !strings.Contains(own, "/") {
				container.Name = own
			}
		}
		all = append(all, container)
	}
	return all, nil
}
