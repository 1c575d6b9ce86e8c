package http

import "sync"

// maxScratchBytes is the size up to which a buffer is kept for other requests: one that held a
// large value would stay large for the small ones.
const maxScratchBytes = 64 << 10

// scratch holds the buffers of one request. One goroutine owns it between takeScratch and
// giveBack.
type scratch struct {
	key   []byte // as the store knows it
	value []byte // as the store knows it; a PUT may take it from text instead
	text  []byte // the body of the request, or of the answer
	held  int64  // bytes that the request has of the budget for large bodies
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func takeScratch() *scratch { return scratches.Get().(*scratch) }

// giveBack lets other requests use the buffers.
func (sc *scratch) giveBack() {
	for _, buffer := range []*[]byte{&sc.key, &sc.value, &sc.text} {
		if cap(*buffer) > maxScratchBytes {
			*buffer = nil
		}
	}
	scratches.Put(sc)
}
