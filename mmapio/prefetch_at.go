package mmapio

// prefetchLines is how many cache lines PrefetchAt asks for: a record of usual size. The processor itself goes on with those that follow.
const (
	prefetchLines = 3
	lineLen       = 64
)

// PrefetchAt is Prefetch of the first cache lines of b from offset at on, as far as they lie in b.
func PrefetchAt(b []byte, at uint64) {
	for range prefetchLines {
		if at >= uint64(len(b)) {
			return
		}
		Prefetch(&b[at])
		at += lineLen
	}
}
