package mmapiotest

// Mode says what a crash does to the effects that are not durable yet. Every mode keeps what is durable: names without a
// pending operation, and all bytes outside the blocks (Replayer.Block) that hold pending ones.
//
// Directory operations are pending in an order, and a journal commits in order: "a prefix of them" is
// a random number of the first ones.
type Mode uint8

// The modes.
const (
	// SyncedOnly loses all that is pending: bytes and directory operations.
	SyncedOnly Mode = iota
	// Everything keeps all that is pending, as after kill -9.
	Everything
	// OrderedPrefix keeps writes and directory operations of all files up to a random one, in the order of the trace.
	OrderedPrefix
	// SizeZeros keeps sizes and all directory operations, and zeros in place of all pending bytes.
	SizeZeros
	// SizeGarbage is SizeZeros with random bytes, in the whole of each block that holds pending ones.
	SizeGarbage
	// DataWithoutSize keeps all bytes but no size: each file ends where it durably ended. Directory operations are all kept.
	DataWithoutSize
	// TornPrefix keeps of each pending write a random number of its first 512-byte sectors. Directory operations are all kept.
	TornPrefix
	// TornSubset keeps of each pending write a random subset of its 512-byte sectors, and a prefix of the directory operations.
	TornSubset
	// TornGarbage is TornSubset with random bytes in place of the sectors that are not kept.
	TornGarbage
	// BlocksFew keeps a random quarter of the 4 KiB blocks that hold pending bytes, as the page
	// cache writes them back, and a prefix of the directory operations. A file keeps its size, or ends after the last
	// block kept, by a coin.
	BlocksFew
	// BlocksHalf is BlocksFew with half of the blocks.
	BlocksHalf
	// BlocksMost is BlocksFew with three quarters of the blocks, and all directory operations.
	BlocksMost
	// StaleSame fills half of the blocks that hold pending bytes with bytes once written to the same offset, of this
	// or another file, as on a recycled disk; the other blocks are new or old, by a coin. Directory operations are all kept.
	StaleSame
	// StaleAny is StaleSame with blocks from any offset, and a prefix of the directory operations.
	StaleAny
	// NamesWithData keeps all bytes, and each directory operation by its own coin.
	NamesWithData
	// NamesWithoutData loses all pending bytes and sizes, and keeps each directory operation by its own coin.
	NamesWithoutData
	// BothNames keeps all bytes, and a file under its old and its new name after each pending rename. A
	// pending creation is lost by a coin, and with it all that was done to its name since ("neither"); so is a pending removal.
	BothNames

	modes
)

// Modes are all modes.
func Modes() []Mode {
	all := make([]Mode, modes)
	for i := range all {
		all[i] = Mode(i)
	}
	return all
}

var modeNames = [modes]string{"synced only", "everything", "ordered prefix", "size without data as zeros",
	"size without data as garbage", "data without size", "torn prefix", "torn subset", "torn with garbage", "blocks, few", "blocks, half",
	"blocks, most", "stale from same offset", "stale from any offset", "names with data", "names without data", "both names"}

// String names the mode.
func (m Mode) String() string { return modeNames[m] }

// sector is the unit in which a write tears, in bytes; page that in which the page cache writes back.
const (
	sector = 512
	page   = 4096
)
