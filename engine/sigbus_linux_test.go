package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

func init() {
	breakages["punched"] = punch
	children["unreadable"] = childUnreadable
}

// punch makes holes of a quarter of the file in all.
func punch(path string, size int64, rng *rand.Rand) (intact int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	intact = size
	for range 8 {
		at := format.BlockSize + rng.Int64N(size-format.BlockSize)
		intact = min(intact, at)
		err = errors.Join(err, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size/32+1))
	}
	return intact, errors.Join(err, f.Close())
}

// Mapped files whose disk fails: a read error (EIO) under the mapping, as of a bad sector.
func TestFilesUnreadableUnderReaders(t *testing.T) {
	for _, tool := range []string{"mkfs.ext4", "losetup", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("it needs %s: %v", tool, err)
		}
	}
	if out, err := exec.Command("losetup", "-f").CombinedOutput(); err != nil {
		t.Skipf("there is no loop device: %v, %s", err, out)
	}
	runMounting(t, "unreadable")
	t.Logf("%d rounds: what cannot be read was refused, the rest was right", unreadableRounds())
}

func unreadableRounds() int { return enginetest.Times(4, 100) }

func childUnreadable(dir string) error {
	for round := range unreadableRounds() {
		opts := besiegedOptions(filepath.Join(dir, fmt.Sprint("data-", round)))
		want, err := prepareSiege(opts)
		if err != nil {
			return err
		}
		s := &siege{opts: opts, victim: victims[round%len(victims)], want: want}
		bad := badDisk{dir: filepath.Join(dir, fmt.Sprint("bad-", round))}
		if err := errors.Join(bad.round(s, round/2%2 == 1), os.RemoveAll(opts.Dir)); err != nil {
			return fmt.Errorf("round %d: %s*: %w", round, s.victim, err)
		}
	}
	return nil
}

// badDisk is a file system on a file, which it loses.
type badDisk struct {
	dir   string // image and mount point
	loop  string
	bound []string
}

func (d *badDisk) image() string { return filepath.Join(d.dir, "image") }
func (d *badDisk) mount() string { return filepath.Join(d.dir, "mount") }

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w, %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// take copies files to the disk and mounts the copies over them. The disk is mounted again read-only before, with nothing of them cached.
func (d *badDisk) take(paths []string) error {
	if err := errors.Join(os.MkdirAll(d.mount(), 0o700), os.WriteFile(d.image(), nil, 0o600), os.Truncate(d.image(), 16<<20)); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", "-F", d.image()); err != nil {
		return err
	}
	out, err := exec.Command("losetup", "-f", "--show", d.image()).Output()
	if err != nil {
		return err
	}
	d.loop = string(bytes.TrimSpace(out))
	if err := errors.Join(d.readNothingAhead(), run("mount", d.loop, d.mount())); err != nil {
		return err
	}
	for _, path := range paths {
		err = errors.Join(err, run("cp", path, d.mount()))
	}
	err = errors.Join(err, run("umount", d.mount()), run("mount", "-o", "ro", d.loop, d.mount()),
		run("losetup", "-d", d.loop)) // which happens once it is mounted nowhere, however this process ends
	for _, path := range paths {
		err = errors.Join(err, run("mount", "--bind", filepath.Join(d.mount(), filepath.Base(path)), path))
		d.bound = append(d.bound, path)
	}
	return err
}

// readNothingAhead keeps what nobody has asked for out of the cache.
func (d *badDisk) readNothingAhead() error {
	f, err := os.Open(d.loop)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.BLKRASET, 0), f.Close())
}

// lose makes what is not cached unreadable. What replaying the logs has left in the cache and nobody has mapped yet is evicted.
func (d *badDisk) lose() error {
	entries, err := os.ReadDir(d.mount())
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		f, openErr := os.Open(filepath.Join(d.mount(), e.Name()))
		if openErr != nil {
			return openErr
		}
		err = errors.Join(err, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	}
	return errors.Join(err, os.Truncate(d.image(), 4096))
}

// away ends the disk, once nothing of it is mapped any more. The files that it had taken are there again.
func (d *badDisk) away() error {
	if d.loop == "" {
		return nil
	}
	var errs []error
	for _, mounted := range append(d.bound, d.mount()) {
		err := unix.Unmount(mounted, 0)
		for started := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(started) < deadline; err = unix.Unmount(mounted, 0) {
			runtime.GC()
		}
		errs = append(errs, err)
	}
	errs = append(errs, os.RemoveAll(d.dir))
	d.loop = ""
	return errors.Join(errs...)
}

// round puts the victims on the disk and loses it while they are read, or early: while they are opened and warmed up.
func (d *badDisk) round(s *siege, early bool) error {
	paths, err := filepath.Glob(filepath.Join(s.opts.Dir, s.victim+"[0-9]*"))
	if err != nil {
		return err
	}
	if err := d.take(paths); err != nil {
		return err
	}
	var lost error
	if early && s.victim == victims[0] {
		in := mmapiotest.NewInjector(mmapio.OpenDir, mmapiotest.Fault{
			Match: func(op mmapiotest.Op) bool {
				return op.Kind == mmapiotest.Open && strings.HasPrefix(op.Name, victims[1])
			},
			Before: func(mmapiotest.Op) { lost = d.lose() }, // the checkpoint is mapped by now
		})
		s.opts.WarmUp, s.opts.OpenDir = engine.WarmUpWait, in.OpenDir
	}
	if err := errors.Join(s.begin(), lost); err != nil {
		return err
	}
	if err := d.lose(); err != nil {
		return err
	}
	s.broken.Store(true)
	s.readers()
	if s.victim == victims[0] {
		s.writers()
	}
	if err := s.end(); err != nil {
		return err
	}
	s.opts.OpenDir = nil
	if err := s.openBroken(true, unix.EIO); err != nil { // Linux 6.18 does not return from mlock of what cannot be read
		return err
	}
	s.db, s.before = nil, nil
	if err := d.away(); err != nil {
		return err
	}
	return s.openMended()
}

// A value whose bytes are lost while it is copied is refused, or was whole: what is returned is what was verified.
func TestValuePunchedWhileItIsCopied(t *testing.T) {
	const size, tries = 4 << 20, 10
	for name, read := range map[string]func(db *engine.DB, key []byte) ([]byte, bool, error){
		"get":      (*engine.DB).Get,
		"snapshot": func(db *engine.DB, key []byte) ([]byte, bool, error) { return db.Snapshot().Get(key) },
	} {
		for _, victim := range victims {
			t.Run(name+"/"+victim, func(t *testing.T) {
				opts := quiet(t)
				opts.Dir, opts.LogFileBytes, opts.Sync = inMemory(t), 8<<20, engine.SyncNone
				want := bytes.Repeat([]byte("value"), size/5)
				refused := 0
				for try := range tries {
					db, err := engine.Open(opts)
					require.NoError(t, err)
					_, err = db.Set(ctx, []byte("k"), want)
					require.NoError(t, err)
					if victim == victims[0] {
						require.NoError(t, db.Checkpoint(ctx))
					}
					var reader sync.WaitGroup
					reader.Go(func() {
						for {
							got, ok, err := read(db, []byte("k"))
							if err != nil {
								refused++
								return
							}
							if !ok || !bytes.Equal(got, want) {
								t.Errorf("try %d: %t, %d bytes, not those that were set", try, ok, len(got))
								return
							}
						}
					})
					time.Sleep(time.Duration(1+try) * 300 * time.Microsecond) // any moment is right
					rng := rand.New(rand.NewPCG(uint64(try), 7))
					paths, err := filepath.Glob(filepath.Join(opts.Dir, victim+"[0-9]*"))
					require.NoError(t, err)
					for _, path := range paths {
						_, err := punch(path, size, rng)
						require.NoError(t, err)
					}
					reader.Wait()
					require.NoError(t, db.Close())
					restoreFiles(t, opts.Dir, nil)
				}
				require.True(t, t.Failed() || refused == tries)
			})
		}
	}
}
