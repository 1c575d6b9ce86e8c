package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/mmapio"
)

// SyncMode says how a group is made durable.
type SyncMode int

// The sync modes.
const (
	// SyncDsync writes a group with one O_DSYNC write, and all else (preparation, rotation, checkpoints) with fdatasync.
	SyncDsync SyncMode = iota
	// SyncData writes a group through a plain descriptor and calls fdatasync.
	SyncData
	// SyncNone leaves it to the operating system when a group reaches the disk: what was
	// acknowledged survives the process, not the machine. For caches and tests.
	SyncNone
)

// Options say how a database is opened. The zero value of every field but Dir is its default,
// and the durable choice.
type Options struct {
	// Dir is the data directory. It must be set.
	Dir string
	// Create makes a new database if Dir is empty or does not exist. Default: false.
	Create bool
	// Sync says how a group is made durable. Default: SyncDsync.
	Sync SyncMode

	// CheckpointInterval is the longest time that an update waits for a checkpoint. Negative
	// means no limit. Default: 60 s.
	CheckpointInterval time.Duration
	// CheckpointUpdates is the number of operations after which a checkpoint begins. Default: 0, no limit.
	CheckpointUpdates uint64
	// CheckpointLogBytes is the number of record bytes logged after which a checkpoint begins; the size of
	// the last checkpoint counts instead if it is larger. Default: 256 MiB.
	CheckpointLogBytes int64
	// DisableBackgroundCheckpoint leaves checkpoints to Checkpoint alone. Default: false.
	DisableBackgroundCheckpoint bool

	// ScrubInterval is how often all files are read from the disk and compared with their checksums, in the background; the first time a
	// minute after Open, or one interval if that is shorter. Stats.Scrub says what was found. Damage is repaired by a checkpoint where what is
	// intact allows it. Negative means never. Default: 24 h.
	ScrubInterval time.Duration
	// ScrubBytesPerSecond is how fast that may be. Default: 32 MiB.
	ScrubBytesPerSecond int64

	// MaxValueBytes is the size of the largest value that is accepted, at most format.MaxValueLen. Default: 16 MiB.
	MaxValueBytes int
	// MaxMemoryBytes bounds Stats.MemoryBytes: beyond it sets are refused with ErrFull, while reads and deletes go on. A
	// checkpoint begins when the logs take half of what the last checkpoint leaves, or a sixteenth of all, and when a set was refused and
	// something has been deleted, overwritten or has expired since. It never fails
	// Open. Snapshots that are held, what scans have sorted, and values on their way do not count. Default: 0, no limit.
	MaxMemoryBytes int64
	// WarmUp says whether the checkpoint is read into memory when the database is opened. Default: WarmUpOff.
	WarmUp WarmUpMode
	// LockMemory keeps the mapped files in memory (mlock). Open fails if the limit of the process (ulimit -l) does not
	// allow that; where it does not allow what is mapped later, a warning is logged. Default: false.
	LockMemory bool
	// LogFileBytes is the size of a log file, a multiple of format.BlockSize. Default: 64 MiB.
	LogFileBytes int64
	// FrameAlign is the alignment of frames in a log: a power of two from
	// format.MinFrameAlign to format.BlockSize. Below the block size a log is smaller, and a torn write can
	// touch the block of the frame before it. Default: format.BlockSize.
	FrameAlign int

	// Logger is told what happens in the background. Default: silence.
	Logger *slog.Logger
	// Now is the wall clock. Default: time.Now.
	Now func() time.Time
	// OpenDir opens Dir. Tests put a recorder or faults between. Default: mmapio.OpenDir.
	OpenDir func(path string, create bool) (mmapio.Dir, error)
}

// Defaults of Options.
const (
	DefaultCheckpointInterval = 60 * time.Second
	DefaultCheckpointLogBytes = 256 << 20
	DefaultScrubInterval      = 24 * time.Hour
	DefaultScrubRate          = 32 << 20
	DefaultMaxValueBytes      = 16 << 20
	DefaultLogFileBytes       = 64 << 20
)

// minLogFileBytes leaves room for the header and some frames.
const minLogFileBytes = 16 * format.BlockSize

// withDefaults returns a copy with every default filled in, or says what is wrong.
func (o Options) withDefaults() (Options, error) {
	setDefault(&o.CheckpointInterval, DefaultCheckpointInterval)
	setDefault(&o.CheckpointLogBytes, DefaultCheckpointLogBytes)
	setDefault(&o.ScrubInterval, DefaultScrubInterval)
	setDefault(&o.ScrubBytesPerSecond, DefaultScrubRate)
	setDefault(&o.MaxValueBytes, DefaultMaxValueBytes)
	setDefault(&o.LogFileBytes, DefaultLogFileBytes)
	setDefault(&o.FrameAlign, format.BlockSize)
	setDefault(&o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OpenDir == nil {
		o.OpenDir = mmapio.OpenDir
	}
	return o, o.validate()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("options: Dir is not set")
	case o.Sync < SyncDsync || o.Sync > SyncNone:
		return fmt.Errorf("options: Sync %d is not a sync mode", o.Sync)
	case o.WarmUp < WarmUpOff || o.WarmUp > WarmUpWait:
		return fmt.Errorf("options: WarmUp %d is not a mode of it", o.WarmUp)
	case o.CheckpointLogBytes < 0:
		return fmt.Errorf("options: CheckpointLogBytes %d is negative", o.CheckpointLogBytes)
	case o.ScrubBytesPerSecond < 0:
		return fmt.Errorf("options: ScrubBytesPerSecond %d is negative", o.ScrubBytesPerSecond)
	case o.MaxMemoryBytes < 0:
		return fmt.Errorf("options: MaxMemoryBytes %d is negative", o.MaxMemoryBytes)
	case o.MaxValueBytes < 0 || o.MaxValueBytes > format.MaxValueLen:
		return fmt.Errorf("options: MaxValueBytes %d is not within 0 and %d", o.MaxValueBytes, format.MaxValueLen)
	case o.LogFileBytes < minLogFileBytes || o.LogFileBytes > format.MaxLogLen || o.LogFileBytes%format.BlockSize != 0:
		return fmt.Errorf("options: LogFileBytes %d is not a multiple of %d from %d to %d",
			o.LogFileBytes, format.BlockSize, minLogFileBytes, format.MaxLogLen)
	case !format.ValidAlign(int64(o.FrameAlign)):
		return fmt.Errorf("options: FrameAlign %d is not a power of two from %d to %d", o.FrameAlign, format.MinFrameAlign, format.BlockSize)
	}
	return nil
}
