package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links of one path, as the kernel does (path_resolution(7)).
const maxLinks = 40

// Follow maps a path of the host to one that this process can open, with every symbolic
// link on it followed as the host would: an absolute one leads to the host's root, which
// [FS.Path] alone does not see to. Certificates mostly are such links.
//
// What does not exist is an error that wraps [fs.ErrNotExist] and has the host's path.
func (f FS) Follow(p string) (string, error) {
	if !filepath.IsAbs(p) {
		return "", fmt.Errorf("%s: want a whole path of the host, from the root", p)
	}
	done, rest := "/", strings.Split(strings.TrimPrefix(path.Clean(p), "/"), "/")
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		next := path.Join(done, step)
		target, err := readLink(path.Join(f.root, next))
		if err != nil {
			return "", fmt.Errorf("%s: %w", p, err)
		}
		if target == "" {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: more than %d symbolic links", p, maxLinks)
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
	}
	return path.Join(f.root, done), nil
}

// readLink returns where a symbolic link leads, "" for what is none.
func readLink(name string) (string, error) {
	info, err := os.Lstat(name)
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return "", perr.Err // its path is not the host's
	}
	if err != nil {
		return "", err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return "", nil
	}
	return os.Readlink(name)
}
