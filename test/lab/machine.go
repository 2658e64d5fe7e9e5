package lab

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed host.sh
var hostScript string

//go:embed outside.sh
var outsideScript string

const (
	outsideName   = "outside"
	outsideNumber = 254
)

// Machine is a set of namespaces with an address on the underlay.
type Machine struct {
	// Name is its host name: h1, h2, ..., or outside.
	Name string

	lab    *Lab
	number int
	// forward starts it with forwarding on.
	forward bool
}

func newMachine(l *Lab, name string, number int) *Machine {
	return &Machine{Name: name, lab: l, number: number}
}

// Address returns the machine's IPv4 address on the underlay.
func (m *Machine) Address() netip.Addr { return underlay(m.number) }

// Address6 returns the machine's IPv6 address on the underlay.
func (m *Machine) Address6() netip.Addr { return underlay6(m.number) }

func underlay(number int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(number)}) }

// underlay6 uses the prefix of examples (RFC 3849): it is global, so that hosts
// treat it as an address of the world, and yet nobody's.
func underlay6(number int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x99, 15: byte(number)})
}

// Dir returns the machine's folder; it has the same path inside and outside.
func (m *Machine) Dir() string { return m.lab.path(m.Name) }

// FirstPID returns the id of the machine's first process, whose namespaces are the
// machine's. It is another one after every boot.
func (m *Machine) FirstPID() (int, error) {
	p, err := m.first()
	return p.PID, err
}

// first returns the machine's first process, an error if the machine is off.
func (m *Machine) first() (process, error) {
	p, ok := m.lab.process(m.Name)
	if !ok || !p.alive() {
		return process{}, fmt.Errorf("%s of %s is off", m.Name, m.lab.Name)
	}
	return p, nil
}

// Exec runs argv in all of the machine's namespaces and returns its standard
// output. If it fails the error is a [*CommandError].
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	cmd, err := m.command(ctx, argv)
	if err != nil {
		return "", err
	}
	return run(cmd, argv)
}

// Start is [Machine.Exec] in the background. The command ends with ctx, with
// [Running.Stop], or with the machine.
func (m *Machine) Start(ctx context.Context, argv ...string) (*Running, error) {
	cmd, err := m.command(ctx, argv)
	if err != nil {
		return nil, err
	}
	return background(cmd, argv)
}

func (m *Machine) command(ctx context.Context, argv []string) (*exec.Cmd, error) {
	first, err := m.first()
	if err != nil {
		return nil, err
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(first.PID), "--mount", "--uts", "--net", "--ipc", "--pid", "--cgroup", "--"}
	return command(ctx, append(enter, argv...)), nil
}

// cgroup returns the name of the machine's control group.
func (m *Machine) cgroup() string { return "ournet-" + m.lab.Name + "-" + m.Name }

// cable returns the name of the machine's link in the outside.
func (m *Machine) cable() string { return "u" + strconv.Itoa(m.number) }

// hasEngine reports whether the machine is a host and not the outside.
func (m *Machine) hasEngine() bool { return m.Name != outsideName }

// powerOn makes the machine's namespaces and returns when it is set up.
func (m *Machine) powerOn(ctx context.Context) error {
	if _, err := m.first(); err == nil {
		return fmt.Errorf("%s is on already", m.Name)
	}
	if err := os.MkdirAll(m.Dir(), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", m.Name, err)
	}
	groups, err := makeCgroups(m.cgroup())
	if err != nil {
		return err
	}
	start, err := m.launch(groups)
	if err != nil {
		return err
	}
	defer start.close()
	if err := m.lab.setProcess(m.Name, &start.process); err != nil {
		return errors.Join(err, start.process.kill(ctx))
	}
	if err := m.plug(ctx, groups, start.process); err != nil {
		return err
	}
	return start.finish(ctx, m)
}

// plug moves the first process to the machine's groups and gives it a cable.
func (m *Machine) plug(ctx context.Context, groups []cgroupMount, first process) error {
	if err := joinCgroups(groups, m.cgroup(), first.PID); err != nil {
		return err
	}
	if !m.hasEngine() {
		return nil
	}
	// A host's MAC address follows from its number: a boot does not change it.
	_, err := m.lab.Outside.inNet(ctx, "ip", "link", "add", "name", m.cable(), "mtu", strconv.Itoa(m.lab.record.MTU),
		"type", "veth", "peer", "name", "eth0", "mtu", strconv.Itoa(m.lab.record.MTU),
		"address", fmt.Sprintf("02:99:00:00:00:%02x", m.number), "netns", strconv.Itoa(first.PID))
	if err != nil {
		return err
	}
	_, err = m.lab.Outside.inNet(ctx, "ip", "link", "set", m.cable(), "master", "ubr0", "up")
	return err
}

// inNet runs argv in the machine's network namespace alone: the ids of processes
// that it names are those of the lab's owner.
func (m *Machine) inNet(ctx context.Context, argv ...string) (string, error) {
	first, err := m.first()
	if err != nil {
		return "", err
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(first.PID), "--net", "--"}
	return run(command(ctx, append(enter, argv...)), argv)
}

// starting is a machine whose script runs.
type starting struct {
	process process
	stdin   *os.File
	stdout  *os.File
	log     string
}

// launch starts the machine's script in new namespaces. The script waits.
func (m *Machine) launch(groups []cgroupMount) (*starting, error) {
	script := outsideScript
	if m.hasEngine() {
		script = hostScript
	}
	cmd := exec.Command("/bin/sh", "-c", script) // no ctx: the machine outlives the call
	cmd.Env = m.environment(script, groups)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
	}
	s := &starting{log: filepath.Join(m.Dir(), "init.log")}
	logFile, err := os.Create(s.log)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", m.Name, err)
	}
	defer logFile.Close() //nolint:errcheck // the child writes it, by a descriptor of its own
	cmd.Stderr = logFile
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer childIn.Close() //nolint:errcheck // read by the child only
	stdout, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), stdin.Close())
	}
	defer childOut.Close() //nolint:errcheck // written by the child only
	cmd.Stdin, cmd.Stdout, s.stdin, s.stdout = childIn, childOut, stdin, stdout
	if err := cmd.Start(); err != nil {
		s.close()
		return nil, fmt.Errorf("start %s: %w", m.Name, err)
	}
	if s.process, err = findProcess(cmd.Process.Pid); err != nil {
		s.close()
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	go func() { _ = cmd.Wait() }() // only to leave no zombie; that it was killed is how a machine ends
	return s, nil
}

func (m *Machine) environment(script string, groups []cgroupMount) []string {
	forward := "0"
	if m.forward {
		forward = "1"
	}
	var mounts []string
	for _, g := range groups {
		mounts = append(mounts, fmt.Sprintf("%s %s %s", g.fsType, g.dir, g.options))
	}
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SCRIPT=" + script, "NAME=" + m.Name, "DIR=" + m.Dir(),
		"ADDRESS=" + m.Address().String(), "ADDRESS6=" + m.Address6().String(),
		"OUTSIDE=" + underlay(outsideNumber).String(), "OUTSIDE6=" + underlay6(outsideNumber).String(),
		"MTU=" + strconv.Itoa(m.lab.record.MTU), "FORWARD=" + forward,
		"INIT=" + filepath.Join(m.lab.record.Engines[0].bin(m.lab.record.Cache), "docker-init"),
		"CGROUPS=" + strings.Join(mounts, "\n"),
	}
}

// finish lets the script go on and waits for its last line.
func (s *starting) finish(ctx context.Context, m *Machine) error {
	// A script that hangs ends with ctx: killing it closes its end of the pipe.
	stop := context.AfterFunc(ctx, func() { _ = s.process.signal(syscall.SIGKILL) })
	defer stop()
	if _, err := io.WriteString(s.stdin, "\n"); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	line, err := bufio.NewReader(s.stdout).ReadString('\n')
	if line != "ready\n" {
		log, logErr := os.ReadFile(s.log)
		return errors.Join(fmt.Errorf("set up %s: %w: %s", m.Name, err, strings.TrimSpace(string(log))), logErr, ctx.Err())
	}
	return nil
}

func (s *starting) close() {
	_ = s.stdin.Close()  // a pipe that was
	_ = s.stdout.Close() // used already
}

// powerOff ends the machine as a power cut would, and removes its groups. A machine
// that is off is fine.
func (m *Machine) powerOff(ctx context.Context) error {
	if p, ok := m.lab.process(m.Name); ok {
		// The kernel ends every process of a namespace before its first one.
		if err := p.kill(ctx); err != nil {
			return err
		}
	}
	if err := removeCgroups(ctx, m.cgroup()); err != nil {
		return err
	}
	return m.lab.setProcess(m.Name, nil)
}
