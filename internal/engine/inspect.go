package engine

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// Inspection is what the engine says of one container.
type Inspection struct {
	ID       string
	Name     string
	Hostname string
	// Attachments are its networks, those included that it will be on only when it
	// is started.
	Attachments []Attachment
}

// Attachment is how a container is on a network.
type Attachment struct {
	// Network and Endpoint are ids; Endpoint is "" while the container does not run.
	Network  string
	Endpoint string
	// Aliases are further names that it was given on this network. Engines up to 24
	// have its short id and its host name among them.
	Aliases []string
	Links   []Link
	// Priority is the user's wish which network comes first, the higher the sooner;
	// engines before 28 know none.
	Priority int
	// NoIPv6 is true if the container has no global IPv6 address there: the user may
	// have switched IPv6 off on its interface, whatever the network has.
	NoIPv6 bool
}

// Link is a name that a container alone has for another.
type Link struct {
	Target string
	Alias  string
}

// Inspect returns what the engine says of a container. The engine answers when it has
// done starting or stopping it, so this may take long. The error is [ErrNotFound] if
// there is no such container.
func (c *Client) Inspect(ctx context.Context, container string) (_ Inspection, err error) {
	s, err := c.open(ctx)
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var answer apiContainer
	if err := s.get(ctx, "/containers/"+url.PathEscape(container)+"/json", &answer); err != nil {
		return Inspection{}, err
	}
	return answer.view(), nil
}

// apiContainer is the part of the API's container that we read.
type apiContainer struct {
	ID              string `json:"Id"`
	Name            string
	Config          struct{ Hostname string }
	NetworkSettings struct {
		Networks map[string]struct {
			NetworkID, EndpointID string
			Aliases, Links        []string
			GwPriority            int
			GlobalIPv6Address     string
		}
	}
}

func (a apiContainer) view() Inspection {
	v := Inspection{ID: a.ID, Name: strings.TrimPrefix(a.Name, "/"), Hostname: a.Config.Hostname}
	for _, n := range a.NetworkSettings.Networks {
		at := Attachment{Network: n.NetworkID, Endpoint: n.EndpointID, Aliases: n.Aliases, Priority: n.GwPriority}
		at.NoIPv6 = n.EndpointID != "" && n.GlobalIPv6Address == ""
		for _, link := range n.Links {
			at.Links = append(at.Links, parseLink(link))
		}
		v.Attachments = append(v.Attachments, at)
	}
	return v
}

// parseLink reads "container:alias"; without an alias the name itself is meant.
func parseLink(link string) Link {
	target, alias, ok := strings.Cut(strings.TrimPrefix(link, "/"), ":")
	if !ok {
		alias = target
	}
	return Link{Target: target, Alias: alias}
}
