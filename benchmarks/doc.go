// Package benchmarks measures the raw engine, each time beside the limit that it cannot beat, in one run.
//
// # What is measured
//
// Keys have 16 bytes, values 128, options are the engine's defaults unless a benchmark says otherwise.
//
//	BenchmarkSet         durable sets by 1, 16, 64 and 256 writers
//	BenchmarkApply       durable batches of 10 and 1000 sets
//	BenchmarkUpdate      transactions on counters, one for each goroutine and one for all
//	BenchmarkGet         random reads of 1 M keys by 1 and 2 goroutines, from the base and from the delta, and misses
//	BenchmarkView        the same in place
//	BenchmarkMixed       64 goroutines, 95 % reads and 5 % durable sets
//	BenchmarkScan        scans of 1, 100 and 10,000 keys from a random one on, both ways, over delta, base and both
//	BenchmarkSnapshot    making a snapshot, and the first scan after a write
//	BenchmarkOpen        from the call of Open to the first value read, log empty, files cached, at several sizes
//	BenchmarkSetBesideCheckpoint   durable sets while one checkpoint follows another, and without
//	BenchmarkCheckpoint  how long a checkpoint takes
//
// The limits do what any engine must do for the same promise, and nothing else:
//
//	WriteLoop  one pwrite of a block after the other on a prepared O_DSYNC file: the limit of one writer
//	GroupLoop  group commit without an index: the limit of many writers
//	LockedMap  a Go map behind a sync.RWMutex: what reads must outrun
//	SortedSlice  keys and values in sorted arrays that cannot change: the limit of scans
//
// # How to run
//
//	go test ./benchmarks -run '^$' -bench . -count 6 | tee new.txt
//	benchstat new.txt
//
// The data lies in the directory for temporary files, which must be on a disk; -dir names another one:
//
//	go test ./benchmarks -run '^$' -bench Set -dir /mnt/disk
//
// SMALLDB_TEST_LONG=1 adds the open of 10 M keys. A read takes less than two looks at the clock, so the quantiles of reads are those of one in 256.
//
// # How to read
//
// Disks and machines drift, so figures of two runs cannot be compared, and those of one run hardly. Ours and the limit
// take turns in short slices instead, in the order ours, limit, limit, ours and so on, and each pair of
// neighbours gives one ratio. What counts is
//
//	ratio  median over the pairs of (ops/s of ours / ops/s of the limit): 1 is the limit
//	cpu-ratio  the same for the processor time of an operation: 1 is the limit, more is worse; where other programs
//	           keep the processors busy it is steadier than the time on the clock
//
// Beside them stand ops/s and limit-ops/s (medians over the slices), the quantiles of the latency of ours (p50-µs, p99-µs,
// p99.9-µs) and of the limit (limit-p50-µs, limit-p99.9-µs); ns/op is the time between two completed operations of
// ours, whoever completes them. A benchmark takes at least five pairs, and more with a longer -benchtime.
package benchmarks
