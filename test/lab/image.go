package lab

import (
	"archive/tar"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// The names that [Host.ImportImages] gives.
const (
	// BusyboxImage runs any command of busybox, and probe (see package probe).
	BusyboxImage = "busybox"
	// ServerImage exposes 6379/tcp and 6379/udp and answers there with the
	// caller's address, until it is stopped.
	ServerImage = "redis"
)

// busyboxPath is where Debian's busybox-static puts the program.
const busyboxPath = "/bin/busybox"

// ImportImages makes the images that tests and people use. Nothing is pulled: they
// consist of the machine's busybox and of our own probe.
func (h *Host) ImportImages(ctx context.Context) error {
	file, err := h.lab.imageTar(ctx)
	if err != nil {
		return err
	}
	if err := h.ImportImage(ctx, file, BusyboxImage, `CMD ["sh"]`); err != nil {
		return err
	}
	return h.ImportImage(ctx, file, ServerImage, "EXPOSE 6379", "EXPOSE 6379/udp",
		`CMD ["probe","serve","-tcp",":6379","-udp",":6379"]`)
}

// ImportImage makes an image of a tar of its files. Each change is an instruction
// like `CMD ["sh"]`.
func (h *Host) ImportImage(ctx context.Context, tarFile, name string, changes ...string) error {
	args := []string{"import"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	_, err := h.Docker(ctx, append(args, tarFile, name)...)
	return err
}

// imageTar returns the tar of the images, which is made once per lab.
func (l *Lab) imageTar(ctx context.Context) (string, error) {
	l.images.Lock()
	defer l.images.Unlock()
	file := l.path("image.tar")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	probe, err := l.buildProbe(ctx)
	if err != nil {
		return "", err
	}
	tmp := file + ".new"
	f, err := os.Create(tmp)
	if err != nil {
		return "", fmt.Errorf("make the image's tar: %w", err)
	}
	if err := errors.Join(WriteImage(ctx, f, probe), f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, file); err != nil {
		return "", fmt.Errorf("make the image's tar: %w", err)
	}
	return file, nil
}

// WriteImage writes the tar of a root file system: busybox with a link for each of
// its commands, and probe, the path of that program.
func WriteImage(ctx context.Context, w io.Writer, probe string) error {
	if err := checkStatic(busyboxPath); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busyboxPath, "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's commands: %w", err)
	}
	t := imageWriter{tar.NewWriter(w)}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"} {
		if err := t.dir(dir); err != nil {
			return err
		}
	}
	if err := t.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"); err != nil {
		return err
	}
	for from, to := range map[string]string{busyboxPath: "bin/busybox", probe: "bin/probe"} {
		if err := t.program(from, to); err != nil {
			return err
		}
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := t.link(path.Join("bin", path.Base(applet)), "busybox"); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

// checkStatic reports why the program cannot run where there is no libc.
func checkStatic(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("open %s: %w: install busybox-static (`make packages`)", file, err)
	}
	defer f.Close() //nolint:errcheck // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: install busybox-static (`make packages`)", file)
		}
	}
	return nil
}

type imageWriter struct{ *tar.Writer }

func (w imageWriter) dir(name string) error {
	return w.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (w imageWriter) link(name, target string) error {
	return w.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func (w imageWriter) text(name, text string) error {
	if err := w.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644}); err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write %s to the image: %w", name, err)
	}
	return nil
}

func (w imageWriter) program(from, to string) error {
	text, err := os.ReadFile(filepath.Clean(from))
	if err != nil {
		return fmt.Errorf("write %s to the image: %w", to, err)
	}
	if err := w.header(&tar.Header{Typeflag: tar.TypeReg, Name: to, Size: int64(len(text)), Mode: 0o755}); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write %s to the image: %w", to, err)
	}
	return nil
}

func (w imageWriter) header(h *tar.Header) error {
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s to the image: %w", h.Name, err)
	}
	return nil
}
