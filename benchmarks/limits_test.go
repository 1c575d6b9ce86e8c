package benchmarks_test

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/engine"
)

// smallLog is enough for the tests of the limits, in bytes.
const smallLog = 2 << 20

// TestLimitsAreDurable checks that the loops pay for durability: a write to a descriptor
// without O_DSYNC would be a limit that nobody can reach.
func TestLimitsAreDurable(t *testing.T) {
	write, err := benchmarks.NewWriteLoop(directory(t), smallLog)
	require.NoError(t, err)
	closeAtEnd(t, write)
	group, err := benchmarks.NewGroupLoop(directory(t), smallLog)
	require.NoError(t, err)
	closeAtEnd(t, group)
	for _, fd := range []uintptr{write.Fd(), group.Fd()} {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.O_DSYNC)
	}
}

// TestWriteLoopWritesBlocks checks that each set takes the next block.
func TestWriteLoopWritesBlocks(t *testing.T) {
	dir := directory(t)
	loop, err := benchmarks.NewWriteLoop(dir, smallLog)
	require.NoError(t, err)
	require.NoError(t, loop.Set([]byte("key1"), []byte("value1")))
	require.NoError(t, loop.Set([]byte("key2"), []byte("value2")))
	require.NoError(t, loop.Close())
	log, err := os.ReadFile(filepath.Join(dir, "writeloop"))
	require.NoError(t, err)
	require.Equal(t, "key1value1", string(log[:10]))
	require.Equal(t, "key2value2", string(log[4096:4106]))
	require.Zero(t, log[8192])
}

// TestGroupLoopReadsBack checks that every set that a GroupLoop acknowledged is in its file, once, and whole.
func TestGroupLoopReadsBack(t *testing.T) {
	const writers, each = 8, 50
	dir := directory(t)
	loop, err := benchmarks.NewGroupLoop(dir, smallLog)
	require.NoError(t, err)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var key [benchmarks.KeyLen]byte
			var value [benchmarks.ValueLen]byte
			for i := range each {
				n := uint64(w*each + i)
				benchmarks.PutKey(key[:], n)
				benchmarks.PutValue(value[:], n)
				if errs[w] = loop.Set(key[:], value[:]); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, loop.Close())
	log, err := os.ReadFile(filepath.Join(dir, "grouploop"))
	require.NoError(t, err)

	found := map[string]string{}
	collect := func(key, value []byte) {
		require.NotContains(t, found, string(key))
		found[string(key)] = string(value)
	}
	require.NoError(t, benchmarks.ReadLoopLog(log, collect))
	require.Len(t, found, writers*each)
	for n := range uint64(writers * each) {
		var key [benchmarks.KeyLen]byte
		benchmarks.PutKey(key[:], n)
		require.NoError(t, benchmarks.CheckValue([]byte(found[string(key[:])]), n))
	}

	log[100] ^= 1
	require.Error(t, benchmarks.ReadLoopLog(log, func(_, _ []byte) {}))
}

// TestLoadedAlike checks that the engine and the map that are compared hold the same, and that the keys that
// are to miss do.
func TestLoadedAlike(t *testing.T) {
	const n = 3000
	m := benchmarks.NewLockedMap(n)
	fillMap(m, n)
	db := open(t, directory(t), func(o *engine.Options) { o.Sync = engine.SyncNone })
	closeAtEnd(t, db)
	load(t, db, 0, n)
	var key [benchmarks.KeyLen]byte
	for i := range uint64(n) {
		benchmarks.PutKey(key[:], i)
		ours, ok, err := db.Get(key[:])
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, benchmarks.CheckValue(ours, i))
		limit, ok := m.AppendGet(nil, key[:])
		require.True(t, ok)
		require.Equal(t, ours, limit)
		benchmarks.PutKey(key[:], getKeys+i)
		_, ok, err = db.Get(key[:])
		require.NoError(t, err)
		require.False(t, ok)
		_, ok = m.AppendGet(nil, key[:])
		require.False(t, ok)
	}
}

// TestNumbersCoverTheirRange: a walk stays below its bound, reaches every part of it, and differs from other walks.
func TestNumbersCoverTheirRange(t *testing.T) {
	const bound, draws = 1000, 20_000
	one, other := benchmarks.NewNumbers(1, bound), benchmarks.NewNumbers(2, bound)
	seen := map[uint64]bool{}
	same := 0
	for range draws {
		n := one.Next()
		require.Less(t, n, uint64(bound))
		seen[n] = true
		if n == other.Next() {
			same++
		}
	}
	require.Len(t, seen, bound)
	require.Less(t, same, draws/100)
}

func TestHistogramQuantiles(t *testing.T) {
	require.Zero(t, new(benchmarks.Histogram).Quantile(0.5))
	numbers := benchmarks.NewNumbers(1, 40)
	var whole, half [2]benchmarks.Histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(uint64(i+1) << numbers.Next())
		all = append(all, d)
		whole[0].Add(d)
		half[i%2].Add(d)
	}
	half[0].Merge(&half[1])
	require.Equal(t, whole[0], half[0])
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		got := whole[0].Quantile(q)
		require.LessOrEqual(t, got, want, "q %v", q)
		require.Greater(t, float64(got), float64(want)*(1-1.0/32), "q %v", q)
	}
}

// TestPairsTakeTurns checks the order of the slices, what they count, and the ratio.
func TestPairsTakeTurns(t *testing.T) {
	var order []string
	worker := func(name string, ops uint64) benchmarks.Worker {
		return func(_ int, stop *atomic.Bool, latencies *benchmarks.Histogram) (uint64, error) {
			order = append(order, name)
			latencies.Add(time.Microsecond)
			for !stop.Load() {
				time.Sleep(time.Microsecond)
			}
			return ops, nil
		}
	}
	p := new(benchmarks.Pairs)
	for range 3 {
		require.NoError(t, p.Run(1, time.Millisecond, worker("ours", 30), worker("limit", 60)))
	}
	require.Equal(t, []string{"ours", "limit", "limit", "ours", "ours", "limit"}, order)
	require.Equal(t, 0.5, p.Ratio(func(s *benchmarks.Slice) float64 { return float64(s.Ops) }))
	require.Equal(t, 60.0, benchmarks.Over(p.Limit, func(s *benchmarks.Slice) float64 { return float64(s.Ops) }))
	require.Equal(t, 992*time.Nanosecond, benchmarks.Latencies(p.Ours).Quantile(1)) // the start of its counter

	failing := func(int, *atomic.Bool, *benchmarks.Histogram) (uint64, error) { return 0, errWrongAnswer }
	require.ErrorIs(t, p.Run(1, 0, failing, failing), errWrongAnswer)
}

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, benchmarks.Median([]float64{9, 1, 2}))
	require.Equal(t, 1.5, benchmarks.Median([]float64{2, 1, 9, 0}))
}

// TestCheckDirectoryRefusesMemory checks that a figure for a disk cannot come from memory.
func TestCheckDirectoryRefusesMemory(t *testing.T) {
	const shm = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(shm, &fs); err != nil || fs.Type != 0x01021994 {
		t.Skipf("%s is no tmpfs here", shm)
	}
	require.ErrorContains(t, benchmarks.CheckDirectory(shm), "-dir")
}
