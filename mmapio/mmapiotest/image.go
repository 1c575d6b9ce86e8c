package mmapiotest

import (
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Image is a directory as a crash left it: content by name, without the lock file. Images of one
// trace share contents, so nobody changes them.
type Image map[string][]byte

// Names lists the files, sorted.
func (m Image) Names() []string { return slices.Sorted(maps.Keys(m)) }

// Hash is the same for equal images and, for all that matters here, for no others.
func (m Image) Hash() uint64 {
	d := xxhash.New()
	var length [8]byte
	for _, name := range m.Names() {
		for _, part := range [][]byte{[]byte(name), m[name]} {
			binary.LittleEndian.PutUint64(length[:], uint64(len(part)))
			_, _ = d.Write(length[:])
			_, _ = d.Write(part)
		}
	}
	return d.Sum64()
}

// WriteTo makes dir, which is created if it does not exist, hold these files and no others. It syncs nothing.
func (m Image) WriteTo(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	for name, data := range m {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
