package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/test/lab"
)

// publishedPort is what the tests read of `docker ournet ports --format json`.
type publishedPort struct {
	Network     string
	Container   string
	Address     string
	Protocol    string
	HostAddress string
	HostIP      string
	HostPort    int
}

// published returns what the command `docker ournet ports ...` lists.
func (h *host) published(command string) []publishedPort {
	h.Helper()
	var list []publishedPort
	for line := range strings.Lines(h.run(command + " --format json")) {
		var p publishedPort
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			h.Fatalf("%s prints %q: %v", command, line, err)
		}
		list = append(list, p)
	}
	return list
}

// kernelPorts returns where the packet filter sends what comes to a published port,
// a line each, sorted.
func (h *host) kernelPorts() []string {
	h.Helper()
	// With or without the host's address: udp . 53 : 172.18.0.2 . 53
	element := regexp.MustCompile(`(?:([0-9a-f.:]+) \. )?(tcp|udp) \. (\d+) : ([0-9a-f.:]+) \. (\d+)`)
	var lines []string
	for _, m := range element.FindAllStringSubmatch(h.run("nft list table inet ournet"), -1) {
		if m[1] == "" {
			m[1] = "0.0.0.0"
		}
		lines = append(lines, portLine(net.JoinHostPort(m[1], m[3]), net.JoinHostPort(m[4], m[5])+"/"+m[2]))
	}
	slices.Sort(lines)
	return lines
}

func portLine(host, container string) string { return host + " leads to " + container }

// areTrue asserts that the packet filter has the listed ports and no others, and
// that each answers where it is said to be.
func (h *host) areTrue(list []publishedPort) {
	h.Helper()
	var lines []string
	for _, p := range list {
		lines = append(lines, portLine(p.HostAddress, p.Address))
		switch p.HostIP {
		case "0.0.0.0":
			h.calledFromOutside(p.Protocol, fmt.Sprintf("%s:%d", h.Address(), p.HostPort))
		case "127.0.0.1":
			h.called(h.Machine, p.Protocol, p.HostAddress)
			h.deaf(h.lab.Outside, p.Protocol, fmt.Sprintf("%s:%d", h.Address(), p.HostPort))
		default:
			h.called(h.Machine, p.Protocol, p.HostAddress)
		}
	}
	slices.Sort(lines)
	if diff := cmp.Diff(h.kernelPorts(), lines); diff != "" {
		h.Errorf("published ports (-packet filter +command):\n%s", diff)
	}
}

// assertPublished asserts what is listed; a host port that is 0 in want is any high one.
func (h *host) assertPublished(got, want []publishedPort, when string) {
	h.Helper()
	got = slices.Clone(got)
	for i := range got {
		if i >= len(want) || want[i].HostPort != 0 {
			continue
		}
		if got[i].HostPort < 1024 {
			h.Errorf("%s: the chosen port of %v is not a high one", when, got[i])
		}
		got[i].HostPort, got[i].HostAddress = 0, want[i].HostAddress
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// Tutorial, step 6: `docker ps` cannot show the ports, so our own command does.
func TestPorts_showExactlyWhatIsPublishedAndItAnswers(t *testing.T) {
	eachBackend(t, func(h *host) {
		// The one with a subnet first: the engine might choose the same for the other.
		h.run("docker network create -d ournet -o com.docker.network.bridge.host_binding_ipv4=172.23.0.1 --subnet 172.23.0.0/16 my-network")
		h.run("docker network create -d ournet front")
		h.run("docker run -d --name web --network front -p 8080:80 busybox probe serve -tcp :80")
		h.run("docker run -d --name dns --network front -p 127.0.0.1:5353:53/udp busybox probe serve -udp :53")
		h.run("docker run -d --name quiet --network front busybox sleep 1d")
		h.run("docker run -d -P --name redis --network my-network redis")

		web := publishedPort{"front", "web", h.address("web", "front") + ":80/tcp", "tcp", "0.0.0.0:8080", "0.0.0.0", 8080}
		dns := publishedPort{"front", "dns", h.address("dns", "front") + ":53/udp", "udp", "127.0.0.1:5353", "127.0.0.1", 5353}
		redis := h.address("redis", "my-network")
		chosen := []publishedPort{
			{"my-network", "redis", redis + ":6379/tcp", "tcp", "172.23.0.1:0", "172.23.0.1", 0},
			{"my-network", "redis", redis + ":6379/udp", "udp", "172.23.0.1:0", "172.23.0.1", 0},
		}
		list := h.published("docker ournet ports")
		h.assertPublished(list, []publishedPort{dns, web, chosen[0], chosen[1]}, "docker ournet ports")
		h.areTrue(list)
		h.choosesByArgument(web, dns, list[2:])
		h.showsIDsWithoutTheEngine()
		h.refusesWithAReason()

		h.killPlugin()
		again := h.published("docker ournet ports")
		if diff := cmp.Diff(list, again); diff != "" {
			h.Errorf("after SIGKILL of the plugin (-before +after):\n%s", diff)
		}
		h.areTrue(again)

		h.run("docker stop web")
		left := h.published("docker ournet ports")
		if diff := cmp.Diff([]publishedPort{list[0], list[2], list[3]}, left); diff != "" {
			h.Errorf("with web stopped (-want +got):\n%s", diff)
		}
		h.areTrue(left)
		h.deaf(h.lab.Outside, "tcp", h.Address().String()+":8080")
		if got := h.published("docker ournet ports web"); len(got) > 0 {
			h.Errorf("a stopped container has the ports %v", got)
		}
	})
}

// choosesByArgument asserts that the list can be had of a network or a container.
func (h *host) choosesByArgument(web, dns publishedPort, redis []publishedPort) {
	h.Helper()
	for arg, want := range map[string][]publishedPort{
		"front":                       {dns, web},
		"my-network":                  redis,
		h.network("my-network").ID:    redis,
		h.network("front").ID[:12]:    {dns, web},
		"web":                         {web},
		h.container("dns").ID[:12]:    {dns},
		"quiet":                       nil,
		"--plugin ournet front":       {dns, web},
		"--plugin=ournet my-network ": redis,
	} {
		if diff := cmp.Diff(want, h.published("docker ournet ports "+arg)); diff != "" {
			h.Errorf("docker ournet ports %s (-want +got):\n%s", arg, diff)
		}
	}
	table := strings.Split(h.run("docker ournet ports web"), "\n")
	if len(table) != 2 || !slices.Equal(strings.Fields(table[0]), []string{"NETWORK", "CONTAINER", "ADDRESS", "HOST", "ADDRESS"}) ||
		!slices.Equal(strings.Fields(table[1]), []string{web.Network, web.Container, web.Address, web.HostAddress}) {
		h.Errorf("docker ournet ports web prints\n%s", strings.Join(table, "\n"))
	}
}

// showsIDsWithoutTheEngine runs the program by itself.
func (h *host) showsIDsWithoutTheEngine() {
	h.Helper()
	want := h.run("docker ournet ports --format {{.NetworkID}}/{{.EndpointID}}/{{.HostAddress}} front")
	got := h.run("env DOCKER_HOST=unix:///nothing " + lab.CommandFile + " ports --format {{.Network}}/{{.Container}}/{{.HostAddress}} " +
		h.network("front").ID[:12])
	wantLines, gotLines := strings.Split(want, "\n"), strings.Split(got, "\n")
	slices.Sort(wantLines) // by name they may be in another order
	slices.Sort(gotLines)
	if diff := cmp.Diff(wantLines, gotLines); diff != "" {
		h.Errorf("without the engine (-want +got):\n%s", diff)
	}
}

func (h *host) refusesWithAReason() {
	h.Helper()
	h.refuses("docker ournet ports nobody", `"nobody"`)
	_, err := h.try("docker ournet ports nobody")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		h.Errorf("docker ournet ports nobody: %v, want exit code 1", err)
	}
	h.refuses("docker ournet ports --plugin third", "/run/docker/plugins/third.sock", "docker plugin enable")
	h.refuses("docker ournet prots", "unknown command")
	h.refuses("setpriv --reuid=65534 --regid=65534 --clear-groups "+lab.CommandFile+" ports", "permission denied", "sudo")
}
