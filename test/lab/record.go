package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// stateDir holds a file per lab of this machine. /run is empty after a boot, when
// no lab is left either.
const stateDir = "/run/ournet-lab"

// record is what is needed to remove a lab, or go on with it, from another process.
type record struct {
	Name        string             `json:"name"`
	Dir         string             `json:"dir"`
	Cache       string             `json:"cache"`
	MTU         int                `json:"mtu"`
	Forward     bool               `json:"forward"`
	DockerdArgs []string           `json:"dockerdArgs,omitempty"`
	Keep        bool               `json:"keep"`
	Owner       process            `json:"owner"`
	Engines     []Engine           `json:"engines"`
	Processes   map[string]process `json:"processes"`
}

func (r *record) file() string { return filepath.Join(stateDir, r.Name+".json") }

// write replaces the file as a whole: a reader never sees half of it.
func (r *record) write() error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the record of %s: %w", r.Name, err)
	}
	tmp := filepath.Join(stateDir, "."+r.Name)
	err = fs.ErrNotExist
	for try := 0; try < 10 && errors.Is(err, fs.ErrNotExist); try++ {
		// Another lab's end may remove the empty folder in between.
		if err = os.MkdirAll(stateDir, 0o700); err == nil {
			err = os.WriteFile(tmp, text, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", r.Name, err)
	}
	if err := os.Rename(tmp, r.file()); err != nil {
		return fmt.Errorf("write the record of %s: %w", r.Name, err)
	}
	return nil
}

func (r *record) remove() error {
	if err := os.Remove(r.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of %s: %w", r.Name, err)
	}
	if err := os.Remove(stateDir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the folder of records: %w", err)
	}
	return nil
}

// readRecords returns the records of all labs of this machine.
func readRecords() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(stateDir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list the labs: %w", err)
	}
	var all []record
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its owner has just removed it
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of a lab: %w", err)
		}
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("decode the record %s: %w", file, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// attach returns the lab of a record.
func attach(r record, log Logf) *Lab {
	if r.Processes == nil {
		r.Processes = map[string]process{}
	}
	l := &Lab{Name: r.Name, Dir: r.Dir, log: log, record: r}
	l.populate()
	return l
}

// Open returns the labs that were made with Config.Keep. log may be nil.
func Open(log Logf) ([]*Lab, error) {
	if log == nil {
		log = func(string, ...any) {}
	}
	records, err := readRecords()
	if err != nil {
		return nil, err
	}
	var labs []*Lab
	for _, r := range records {
		if r.Keep {
			labs = append(labs, attach(r, log))
		}
	}
	return labs, nil
}

// reapStale removes the labs whose owner died without removing them.
func reapStale(ctx context.Context, log Logf) error {
	unlock, err := lockRecords()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no lab at all
	}
	if err != nil {
		return err
	}
	defer unlock()
	records, err := readRecords()
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Keep || r.Owner.alive() {
			continue
		}
		log("%s was left behind by process %d: removing it", r.Name, r.Owner.PID)
		if err := attach(r, log).Down(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lockRecords keeps two processes from removing the same lab at the same time.
func lockRecords() (unlock func(), err error) {
	f, err := os.Open(stateDir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of records: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the labs: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing drops the lock
}
