package lab

import (
	"strings"
	"testing"
)

func TestLab_hostsReachConsul(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engine29)
	address, err := l.StartConsul(ctx)
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.Host(1).Namespace()
	if err != nil {
		t.Fatal(err)
	}
	program := l.record.Cache + "/bin/consul"
	if got := must(t)(InNamespace(ctx, file, program, "kv", "get", "-http-addr="+address, "lab")); got != l.Name {
		t.Errorf("the host reads %q, want %s", got, l.Name)
	}
}

func TestHost_bootsAsANewMachineWhenItIsWiped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := up(ctx, t, Engine29)
	h := l.Host(1)
	if err := h.ImportImages(ctx); err != nil {
		t.Fatal(err)
	}
	must(t)(h.Exec(ctx, "touch", "/etc/touched"))
	if err := h.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	if images := must(t)(h.Docker(ctx, "images", "-q")); strings.TrimSpace(images) != "" {
		t.Errorf("the new machine has the images %q", images)
	}
	if _, err := h.Exec(ctx, "test", "-e", "/etc/touched"); err == nil {
		t.Error("the new machine has the old one's files")
	}
}
