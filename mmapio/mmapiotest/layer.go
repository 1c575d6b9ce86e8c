package mmapiotest

import (
	"sync/atomic"

	"github.com/tongpengdl/small-db/mmapio"
)

// layer is what stands between the wrapped calls and the real ones.
type layer interface {
	// call performs op by do, which stores its results in op, and returns what the caller is told.
	call(l life, op *Op, do func(op *Op) error) error
}

// life numbers the process that a Dir or File belongs to: one more after each Kill.
type life int

// dir is a mmapio.Dir whose calls go through a layer.
type dir struct {
	layer layer
	life  life
	under mmapio.Dir
}

func (d *dir) call(op Op, do func(op *Op) error) error {
	op.Site = callSite()
	return d.layer.call(d.life, &op, do)
}

func (d *dir) Path() string { return d.under.Path() }

func (d *dir) Names() (names []string, err error) {
	err = d.call(Op{Kind: Names}, func(*Op) (err error) {
		names, err = d.under.Names()
		return err
	})
	return names, err
}

func (d *dir) Open(name string, mode mmapio.Mode) (mmapio.File, error) {
	return d.file(Op{Kind: Open, Name: name, Mode: mode}, func() (mmapio.File, error) { return d.under.Open(name, mode) })
}

func (d *dir) Create(name string) (mmapio.File, error) {
	return d.file(Op{Kind: Create, Name: name, Mode: mmapio.Write}, func() (mmapio.File, error) { return d.under.Create(name) })
}

// file performs op, an Open or a Create, by open.
func (d *dir) file(op Op, open func() (mmapio.File, error)) (mmapio.File, error) {
	f := &file{layer: d.layer, life: d.life}
	f.around.Store(op.Mode == mmapio.ReadAround)
	op.Site = callSite()
	err := d.layer.call(d.life, &op, func(*Op) (err error) {
		f.under, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	f.self = Op{Name: op.Name, Inode: op.Inode, Mode: op.Mode, OpenBy: op.Site}
	return f, nil
}

func (d *dir) Rename(oldName, newName string) error {
	return d.call(Op{Kind: Rename, Name: oldName, NewName: newName}, func(*Op) error { return d.under.Rename(oldName, newName) })
}

func (d *dir) Remove(name string) error {
	return d.call(Op{Kind: Remove, Name: name}, func(*Op) error { return d.under.Remove(name) })
}

func (d *dir) Sync() error {
	return d.call(Op{Kind: SyncDir}, func(*Op) error { return d.under.Sync() })
}

func (d *dir) Lock(name string) error {
	return d.call(Op{Kind: LockDir, Name: name}, func(*Op) error { return d.under.Lock(name) })
}

func (d *dir) Close() error {
	return d.call(Op{Kind: CloseDir}, func(*Op) error { return d.under.Close() })
}

// file is a mmapio.File whose calls go through a layer.
type file struct {
	layer  layer
	life   life
	under  mmapio.File
	self   Op          // what all its calls have in common; not changed any more
	around atomic.Bool // reads go around the page cache
}

func (f *file) call(kind Kind, off, length int64, data []byte, do func(op *Op) error) (n int64, err error) {
	op := f.self
	op.Kind, op.Off, op.Len, op.Data, op.Site = kind, off, length, data, callSite()
	op.Durable = kind == WriteAt && op.Mode == mmapio.WriteDurable
	err = f.layer.call(f.life, &op, do)
	return op.N, err
}

func (f *file) Name() string { return f.self.Name }
func (f *file) Fd() uintptr  { return f.under.Fd() }

func (f *file) Size() (int64, error) {
	return f.call(Size, 0, 0, nil, func(op *Op) (err error) {
		op.N, err = f.under.Size()
		return err
	})
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.call(ReadAt, off, int64(len(p)), nil, func(op *Op) error {
		n, err := f.under.ReadAt(p, off)
		op.N = int64(n)
		if f.around.Load() {
			op.Data = append(make([]byte, 0, n), p[:n]...)
		}
		return err
	})
	return int(n), err
}

// WriteAt writes op.Data, which the layer may have shortened.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.call(WriteAt, off, int64(len(p)), p, func(op *Op) error {
		n, err := f.under.WriteAt(op.Data, off)
		op.N = int64(n)
		return err
	})
	return int(n), err
}

func (f *file) Flush(off, n int64) error {
	_, err := f.call(Flush, off, n, nil, func(*Op) error { return f.under.Flush(off, n) })
	return err
}

func (f *file) Sync() error {
	_, err := f.call(Sync, 0, 0, nil, func(*Op) error { return f.under.Sync() })
	return err
}

func (f *file) Evict() error {
	_, err := f.call(Evict, 0, 0, nil, func(*Op) error {
		f.around.Store(true) // mmapio.Around reads so where there are no direct reads
		return f.under.Evict()
	})
	return err
}

func (f *file) Close() error {
	_, err := f.call(CloseFile, 0, 0, nil, func(*Op) error { return f.under.Close() })
	return err
}
