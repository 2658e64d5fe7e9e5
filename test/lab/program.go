package lab

import (
	"context"
	_ "embed"
	"fmt"
	"os"
)

//go:embed musl/lookup.c
var muslLookup []byte

// Probe returns the path of the program probe, the same on every machine of the
// lab. It is built when it is first asked for.
func (l *Lab) Probe(ctx context.Context) (string, error) {
	l.images.Lock()
	defer l.images.Unlock()
	return l.buildProbe(ctx)
}

func (l *Lab) buildProbe(ctx context.Context) (string, error) {
	file := l.path("probe")
	// Containers have no libc.
	return file, compile(ctx, file, []string{"CGO_ENABLED=0"},
		"go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "github.com/ournet/ournet/test/lab/probe")
}

// MuslLookup returns the path of a program that prints the addresses of a name as the
// resolver of musl, Alpine's C library, finds them. It is there as [Lab.Probe] is.
func (l *Lab) MuslLookup(ctx context.Context) (string, error) {
	l.images.Lock()
	defer l.images.Unlock()
	file := l.path("musl-lookup")
	source := file + ".c"
	if err := os.WriteFile(source, muslLookup, 0o600); err != nil {
		return "", fmt.Errorf("write a program: %w", err)
	}
	return file, compile(ctx, file, nil, "musl-gcc", "-static", "-Os", "-o", file, source)
}

// compile runs the compiler, unless the file that it makes is there already.
func compile(ctx context.Context, file string, env []string, compiler ...string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	cmd := command(ctx, compiler)
	cmd.Env = append(os.Environ(), env...)
	_, err := run(cmd, compiler)
	return err
}
