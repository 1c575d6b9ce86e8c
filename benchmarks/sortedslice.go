package benchmarks

import (
	"bytes"
	"sort"
)

// SortedSlice is what scans cannot outrun by much: keys and values in one array each, in order, and nothing that could
// change. Any number of goroutines may use it.
type SortedSlice struct {
	keys   []byte
	values []byte
	order  []int
}

// NewSortedSlice holds the keys and values with the numbers below n.
func NewSortedSlice(n int) *SortedSlice {
	s := &SortedSlice{keys: make([]byte, n*KeyLen), values: make([]byte, n*ValueLen), order: make([]int, n)}
	for i := range s.order {
		s.order[i] = i
	}
	var a, b [KeyLen]byte
	sort.Slice(s.order, func(i, j int) bool {
		PutKey(a[:], uint64(s.order[i]))
		PutKey(b[:], uint64(s.order[j]))
		return bytes.Compare(a[:], b[:]) < 0
	})
	for at, i := range s.order {
		PutKey(s.keys[at*KeyLen:][:KeyLen], uint64(i))
		PutValue(s.values[at*ValueLen:][:ValueLen], uint64(i))
	}
	s.order = nil
	return s
}

// Scan calls yield with copies of the keys from start on, and their values, in order, until it returns false.
func (s *SortedSlice) Scan(start []byte, yield func(key, value []byte) bool) {
	n := len(s.keys) / KeyLen
	var buf [KeyLen + ValueLen]byte
	for i := sort.Search(n, func(i int) bool { return bytes.Compare(s.keys[i*KeyLen:][:KeyLen], start) >= 0 }); i < n; i++ {
		copy(buf[:], s.keys[i*KeyLen:][:KeyLen])
		copy(buf[KeyLen:], s.values[i*ValueLen:][:ValueLen])
		if !yield(buf[:KeyLen], buf[KeyLen:]) {
			return
		}
	}
}
