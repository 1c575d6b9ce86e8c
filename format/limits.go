package format

// Version is the format version of every file this package writes. A file of a
// newer version is refused with ErrVersion.
const Version = 1

// Sizes that the layouts are built from.
const (
	// BlockSize is the size of blocks 0 and 1 of a log and of the header page of
	// a checkpoint, and the default alignment of frames. A frame never shares a
	// block with an earlier one, so a torn write cannot touch what was
	// acknowledged before it.
	BlockSize = 4096

	// MinFrameAlign is the smallest frame alignment that a log may be given, in
	// bytes: the sector, the smallest unit that a disk promises to write whole.
	MinFrameAlign = 512

	// LogHeaderSize is the size of blocks 0 and 1 together: the offset of a
	// log's first frame.
	LogHeaderSize = 2 * BlockSize

	// SegmentSize is the size at which the builder closes a record segment, in
	// bytes. A record that is larger has a segment of its own.
	SegmentSize = 1 << 20
)

// Hard limits of the format. Writers may be bound more tightly by their options;
// recovery, readers and receivers accept whatever lies within these.
const (
	// MaxKeyLen is the length of the longest key, in bytes. The shortest is 1.
	MaxKeyLen = 1<<16 - 1

	// MaxValueLen is the length of the longest value, in bytes. The shortest is 0.
	MaxValueLen = 64 << 20

	// MaxGroupLen is the payload of the largest group that holds more than one
	// batch, in bytes.
	MaxGroupLen = 8 << 20

	// MaxPayloadLen is the payload of the largest frame, in bytes: one group, or
	// one batch that is larger than MaxGroupLen by itself.
	MaxPayloadLen = MaxValueLen + MaxGroupLen

	// MaxLogLen is the size of the largest log file, in bytes.
	MaxLogLen = 1 << 32

	// MaxCheckpointLen is the size of the largest checkpoint, in bytes: what the 40-bit
	// offsets of its hash index can address.
	MaxCheckpointLen = 1 << 40
)

// Align rounds n up to a multiple of align, which must be a power of two.
func Align(n, align int64) int64 { return (n + align - 1) &^ (align - 1) }
