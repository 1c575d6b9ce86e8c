package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// sink stands in for the disk: it takes what the pipeline commits.
type sink struct {
	pipeline *pipeline

	enter chan int   // if not nil, commit tells how many requests it was given, and then
	leave chan error // waits for its result, before it reads them
	late  chan error // if not nil, commit waits for its result here, after it has read them

	inside atomic.Int32
	seq    uint64 // the holder's
	mu     sync.Mutex
	groups [][]string // the keys of each group
	fail   func(keys []string) error
}

func newSink(t *testing.T, limit pipelineLimit) *sink {
	s := new(sink)
	s.pipeline = newPipeline(limit, s.commit)
	t.Cleanup(func() {
		s.pipeline.mu.Lock()
		stopped := s.pipeline.stopped != nil
		s.pipeline.mu.Unlock()
		if !stopped {
			s.pipeline.stop(ErrClosed)
		}
		assert.Zero(t, s.inside.Load())
	})
	return s
}

// gated makes commit wait for the test.
func (s *sink) gated() *sink {
	s.enter, s.leave = make(chan int), make(chan error)
	return s
}

func (s *sink) commit(g *group) error {
	if s.inside.Add(1) != 1 {
		panic("two goroutines hold the pipeline")
	}
	defer s.inside.Add(-1)
	var err error
	if s.enter != nil {
		s.enter <- len(g.requests)
		err = <-s.leave
	}
	keys := s.read(g)
	if s.late != nil {
		err = <-s.late
	}
	s.mu.Lock()
	s.groups = append(s.groups, keys)
	s.mu.Unlock()
	if s.fail != nil {
		err = s.fail(keys)
	}
	return err
}

// read copies what the requests point to, as DB.frame does.
func (s *sink) read(g *group) (keys []string) {
	defer s.pipeline.wasRead(g)
	bytes := 0
	for _, r := range g.requests {
		for i := range r.ops {
			keys = append(keys, string(r.ops[i].key))
			bytes += r.ops[i].recordLen()
		}
		s.seq += uint64(len(r.ops))
		r.version = Version{1, s.seq}
	}
	if len(keys) != g.ops || bytes != g.weight {
		panic(fmt.Sprintf("a group of %d operations and %d bytes is counted as %d and %d", len(keys), bytes, g.ops, g.weight))
	}
	return keys
}

func (s *sink) committed() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.groups)
}

// requestFor sets keys, of values of this many bytes.
func requestFor(value int, keys ...string) *request {
	r := new(request)
	for _, k := range keys {
		o := op{kind: format.KindSet, key: []byte(k), value: make([]byte, value)}
		r.ops = append(r.ops, o)
		r.weight += o.recordLen()
	}
	return r
}

// answer is what submit returned.
type answer struct {
	abandoned bool
	err       error
}

// submitAll hands requests over, each from its own goroutine, and waits until each is queued.
func (s *sink) submitAll(ctx context.Context, requests ...*request) []chan answer {
	answers := make([]chan answer, len(requests))
	for i, r := range requests {
		answers[i] = make(chan answer, 1)
		before := s.waiting()
		go func() {
			abandoned, err := s.pipeline.submit(ctx, r)
			answers[i] <- answer{abandoned, err}
		}()
		for s.waiting() == before {
			runtime.Gosched()
		}
	}
	return answers
}

func (s *sink) waiting() (n int) {
	s.pipeline.mu.Lock()
	defer s.pipeline.mu.Unlock()
	for _, g := range s.pipeline.groups {
		n += len(g.requests)
	}
	return n
}

// submitHeld makes the pipeline busy with one request, which enter tells of, and returns its answer.
func (s *sink) submitHeld(enter <-chan struct{}) chan answer {
	out := make(chan answer, 1)
	go func() {
		abandoned, err := s.pipeline.submit(context.Background(), requestFor(0, "first"))
		out <- answer{abandoned, err}
	}()
	<-enter
	return out
}

// hold makes the pipeline busy with one request, and returns its answer.
func (s *sink) hold(t *testing.T) chan answer {
	answer1 := make(chan answer, 1)
	go func() {
		abandoned, err := s.pipeline.submit(context.Background(), requestFor(0, "first"))
		answer1 <- answer{abandoned, err}
	}()
	require.Equal(t, 1, <-s.enter)
	return answer1
}

var roomy = pipelineLimit{group: 1 << 20, queue: 1 << 20}

// What comes while the pipeline is busy becomes one group, in order.
func TestPipelineGathers(t *testing.T) {
	s := newSink(t, roomy).gated()
	first := s.hold(t)
	rest := s.submitAll(context.Background(), requestFor(0, "a"), requestFor(5, "b1", "b2", "b3"), requestFor(0, "c"))
	s.leave <- nil
	require.Equal(t, answer{}, <-first)
	require.Equal(t, 3, <-s.enter)
	s.leave <- nil
	for _, a := range rest {
		require.Equal(t, answer{}, <-a)
	}
	assert.Equal(t, [][]string{{"first"}, {"a", "b1", "b2", "b3", "c"}}, s.committed())
}

// The request keeps the version of its last operation.
func TestPipelineSetsVersions(t *testing.T) {
	s := newSink(t, roomy).gated()
	first := s.hold(t)
	requests := []*request{requestFor(0, "a"), requestFor(0, "b1", "b2", "b3"), requestFor(0, "c")}
	rest := s.submitAll(context.Background(), requests...)
	s.leave <- nil
	<-first
	<-s.enter
	s.leave <- nil
	for i, want := range []uint64{2, 5, 6} {
		<-rest[i]
		assert.Equal(t, want, requests[i].version.Seq)
	}
}

// A group closes before it would exceed the limit; a request larger than that is alone.
func TestPipelineGroupLimit(t *testing.T) {
	size := requestFor(100, "k").weight
	s := newSink(t, pipelineLimit{group: 3 * size, queue: 1 << 20}).gated()
	first := s.hold(t)
	answers := s.submitAll(context.Background(),
		requestFor(100, "a"), requestFor(100, "b"), requestFor(100, "c"), // exactly full
		requestFor(100, "d"), requestFor(100, "e"),
		requestFor(5000, "L"), // larger than a group may be
		requestFor(0, "f"), requestFor(100, "g"),
		requestFor(100, "h", "i", "j"), // exactly a group
		requestFor(0, "k"))
	s.leave <- nil
	<-first
	for range 6 {
		<-s.enter
		s.leave <- nil
	}
	for _, a := range answers {
		require.Equal(t, answer{}, <-a)
	}
	assert.Equal(t, [][]string{{"first"}, {"a", "b", "c"}, {"d", "e"}, {"L"}, {"f", "g"}, {"h", "i", "j"}, {"k"}}, s.committed())
}

// An error is that of exactly the group it befell.
func TestPipelineErrorsGoToTheirGroup(t *testing.T) {
	size := requestFor(100, "k").weight
	s := newSink(t, pipelineLimit{group: 2 * size, queue: 1 << 20}).gated()
	first := s.hold(t)
	answers := s.submitAll(context.Background(), requestFor(100, "a"), requestFor(100, "b"),
		requestFor(100, "c"), requestFor(100, "d"), requestFor(100, "e"))
	own, second := errors.New("own"), errors.New("second")
	s.leave <- own
	require.Equal(t, answer{err: own}, <-first)
	for _, err := range []error{nil, second, nil} {
		<-s.enter
		s.leave <- err
	}
	for i, want := range []error{nil, nil, second, second, nil} {
		require.Equal(t, answer{err: want}, <-answers[i], "request %d", i)
	}
}

// A full queue makes writers wait, and they go on in turn.
func TestPipelineQueueLimit(t *testing.T) {
	size := requestFor(100, "k").weight
	s := newSink(t, pipelineLimit{group: size, queue: 2 * size}).gated()
	first := s.hold(t)
	queued := s.submitAll(context.Background(), requestFor(100, "a"), requestFor(100, "b"))

	const waiters = 5
	var late [waiters]chan answer
	for i := range late {
		late[i] = make(chan answer, 1)
		go func() {
			abandoned, err := s.pipeline.submit(context.Background(), requestFor(100, fmt.Sprintf("late-%d", i)))
			late[i] <- answer{abandoned, err}
		}()
	}
	ctx, cancel := context.WithCancel(context.Background())
	leaver := make(chan answer, 1)
	go func() {
		abandoned, err := s.pipeline.submit(ctx, requestFor(100, "leaver"))
		leaver <- answer{abandoned, err}
	}()
	for range 2000 {
		runtime.Gosched()
		require.LessOrEqual(t, s.waiting(), 2)
	}
	cancel()
	require.Equal(t, answer{err: context.Canceled}, <-leaver, "a context frees a writer that waits for room")

	s.leave <- nil
	<-first
	for range 2 + waiters {
		<-s.enter
		require.LessOrEqual(t, s.waiting(), 2)
		s.leave <- nil
	}
	for _, a := range append(queued, late[:]...) {
		require.Equal(t, answer{}, <-a)
	}
	groups := s.committed()
	require.Equal(t, [][]string{{"first"}, {"a"}, {"b"}}, groups[:3])
	keys := slices.Concat(groups[3:]...)
	slices.Sort(keys)
	assert.Equal(t, []string{"late-0", "late-1", "late-2", "late-3", "late-4"}, keys)
}

// One request may be larger than the whole queue.
func TestPipelineRequestLargerThanTheQueue(t *testing.T) {
	s := newSink(t, pipelineLimit{group: 100, queue: 200})
	_, err := s.pipeline.submit(context.Background(), requestFor(5000, "idle"))
	require.NoError(t, err)
	s.gated()
	first := s.hold(t)
	large := s.submitAll(context.Background(), requestFor(5000, "busy"))
	s.leave <- nil
	<-first
	<-s.enter
	s.leave <- nil
	require.Equal(t, answer{}, <-large[0])
}

// Whose context ends before its group is taken gets the context's error, and nothing of it is committed.
func TestPipelineWithdraw(t *testing.T) {
	for leaver := range 3 {
		s := newSink(t, roomy).gated()
		first := s.hold(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		keys := []string{"a", "b", "c"}
		var answers []chan answer
		for i, k := range keys {
			c := context.Background()
			if i == leaver {
				c = ctx
			}
			answers = append(answers, s.submitAll(c, requestFor(10, k))...)
		}
		cancel(errors.New("cause"))
		require.Equal(t, answer{err: context.Canceled}, <-answers[leaver])
		require.Equal(t, 2, s.waiting())
		s.leave <- nil
		<-first
		require.Equal(t, 2, <-s.enter)
		s.leave <- nil
		for i, a := range answers {
			if i != leaver {
				require.Equal(t, answer{}, <-a)
			}
		}
		assert.Equal(t, [][]string{{"first"}, slices.Delete(keys, leaver, leaver+1)}, s.committed())
		assert.Zero(t, s.pipeline.queued)
	}
}

// When all have withdrawn there is nothing to commit, and the pipeline is free.
func TestPipelineAllWithdraw(t *testing.T) {
	s := newSink(t, pipelineLimit{group: 100, queue: 1 << 20}).gated()
	first := s.hold(t)
	ctx, cancel := context.WithCancel(context.Background())
	answers := s.submitAll(ctx, requestFor(50, "a"), requestFor(50, "b"), requestFor(50, "c"))
	cancel()
	for _, a := range answers {
		require.Equal(t, answer{err: context.Canceled}, <-a)
	}
	s.leave <- nil
	<-first
	s.enter = nil
	_, err := s.pipeline.submit(context.Background(), requestFor(0, "next"))
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"first"}, {"next"}}, s.committed())
}

// A context that has ended already hands nothing over.
func TestPipelineEndedContext(t *testing.T) {
	s := newSink(t, roomy)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	abandoned, err := s.pipeline.submit(ctx, requestFor(0, "a"))
	require.False(t, abandoned)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrIndeterminate)
	assert.Empty(t, s.committed())
}

// Whose context ends after its group was taken does not know, and once it returns what the request points to is its own
// again: it waits until the group was read. The race detector watches the overwriting below.
func TestPipelineAbandon(t *testing.T) {
	for _, read := range []bool{false, true} {
		t.Run(fmt.Sprintf("read=%t", read), func(t *testing.T) {
			s := newSink(t, roomy).gated()
			s.late = make(chan error)
			first := s.hold(t)
			ctx, cancel := context.WithCancel(context.Background())
			key, value := []byte("abandoned"), []byte("value")
			r := &request{ops: []op{{kind: format.KindSet, key: key, value: value}}}
			r.weight = r.ops[0].recordLen()
			answers := append(s.submitAll(context.Background(), requestFor(0, "stays")), s.submitAll(ctx, r)...)
			s.leave <- nil
			s.late <- nil
			<-first
			require.Equal(t, 2, <-s.enter) // taken, and not yet read
			if read {
				s.leave <- nil
				cancel()
			} else {
				cancel()
				for range 1000 {
					runtime.Gosched()
				}
				require.Empty(t, answers[1], "what the request points to has not been read")
				s.leave <- nil
			}
			got := <-answers[1] // while the group is still being written
			require.True(t, got.abandoned)
			require.ErrorIs(t, got.err, ErrIndeterminate)
			require.ErrorIs(t, got.err, context.Canceled)
			copy(key, "XXXXXXXXX")
			clear(value)
			s.late <- nil
			require.Equal(t, answer{}, <-answers[0])
			assert.Equal(t, [][]string{{"first"}, {"stays", "abandoned"}}, s.committed(), "what was handed over is committed, unchanged")
		})
	}
}

// A group that fails before it was read frees whom its context has let go, with the error of the group.
func TestPipelineAbandonAGroupThatIsNeverRead(t *testing.T) {
	failure := errors.New("no log to write to")
	enter, leave := make(chan struct{}), make(chan error)
	p := newPipeline(roomy, func(*group) error { enter <- struct{}{}; return <-leave })
	s := &sink{pipeline: p}
	first := s.submitHeld(enter)
	ctx, cancel := context.WithCancel(context.Background())
	answers := s.submitAll(ctx, requestFor(0, "a"), requestFor(0, "b"))
	leave <- nil
	require.Equal(t, answer{}, <-first)
	<-enter
	cancel()
	for range 1000 {
		runtime.Gosched()
	}
	leave <- failure
	for _, a := range answers {
		require.Equal(t, answer{err: failure}, <-a)
	}
	p.stop(ErrClosed)
}

// A group that is done when the context ends has its own result.
func TestPipelineContextEndsAfterTheCommit(t *testing.T) {
	s := newSink(t, roomy)
	var mixed atomic.Int32
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 300 {
				ctx, cancel := context.WithCancel(context.Background())
				go cancel()
				key := fmt.Sprintf("%d-%d", w, i)
				buf := []byte(key)
				r := &request{ops: []op{{kind: format.KindSet, key: buf}}}
				r.weight = r.ops[0].recordLen()
				abandoned, err := s.pipeline.submit(ctx, r)
				copy(buf, strings.Repeat("#", len(buf))) // it is ours again
				if abandoned != errors.Is(err, ErrIndeterminate) {
					mixed.Add(1)
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					mixed.Add(1)
				}
			}
		})
	}
	writers.Wait()
	s.pipeline.stop(ErrClosed)
	assert.Zero(t, mixed.Load())
	for _, key := range slices.Concat(s.committed()...) {
		require.NotContains(t, key, "#", "a caller's bytes were read after its call had returned")
	}
}

// Tasks run between groups, after what was submitted before them and before what comes after.
func TestPipelineTasks(t *testing.T) {
	s := newSink(t, roomy).gated()
	first := s.hold(t)
	var ran []int
	task := func(n int, err error) *request {
		return &request{task: func() error {
			if s.inside.Load() != 0 {
				panic("a task beside a commit")
			}
			ran = append(ran, n, len(s.committed()))
			return err
		}}
	}
	failure := errors.New("task")
	answers := s.submitAll(context.Background(), requestFor(0, "a"), requestFor(0, "b"),
		task(1, nil), task(2, failure), requestFor(0, "c"), requestFor(0, "d"), task(3, nil))
	s.leave <- nil
	<-first
	for range 2 {
		require.Equal(t, 2, <-s.enter)
		s.leave <- nil
	}
	for i, want := range []error{nil, nil, nil, failure, nil, nil, nil} {
		require.Equal(t, answer{err: want}, <-answers[i], "request %d", i)
	}
	assert.Equal(t, []int{1, 2, 2, 2, 3, 3}, ran)
	assert.Equal(t, [][]string{{"first"}, {"a", "b"}, {"c", "d"}}, s.committed())

	require.NoError(t, s.pipeline.between(context.Background(), func() error { ran = nil; return nil }), "idle")
	assert.Nil(t, ran)
}

// Under many writers exactly one holds the pipeline (sink checks), each operation is committed once, and those of one
// writer in its order.
func TestPipelineOrder(t *testing.T) {
	const writers, each = 32, 400
	s := newSink(t, pipelineLimit{group: 1000, queue: 3000})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			var last uint64
			for i := range each {
				r := requestFor(rng.IntN(200), fmt.Sprintf("%d %d", w, i))
				if _, err := s.pipeline.submit(context.Background(), r); err != nil || r.version.Seq <= last {
					panic(fmt.Sprintf("%d after %d: %v", r.version.Seq, last, err))
				}
				last = r.version.Seq
				if i%50 == 0 {
					if err := s.pipeline.between(context.Background(), func() error { return nil }); err != nil {
						panic(err)
					}
				}
			}
		})
	}
	all.Wait()
	next := map[int]int{}
	for _, key := range slices.Concat(s.committed()...) {
		var w, i int
		_, err := fmt.Sscanf(key, "%d %d", &w, &i)
		require.NoError(t, err)
		require.Equal(t, next[w], i)
		next[w]++
	}
	assert.Len(t, next, writers)
	for w, n := range next {
		require.Equal(t, each, n, "writer %d", w)
	}
}

// A stop beside writers answers each: with nil, and then it is committed, or with the reason, and then it is not.
func TestPipelineStop(t *testing.T) {
	before := runtime.NumGoroutine()
	reason := errors.New("stopped")
	for round := range 50 {
		s := newSink(t, pipelineLimit{group: 500, queue: 1000})
		var writers sync.WaitGroup
		var mu sync.Mutex
		acknowledged := map[string]bool{}
		for w := range 16 {
			writers.Go(func() {
				for i := 0; ; i++ {
					key := fmt.Sprintf("%d-%d", w, i)
					_, err := s.pipeline.submit(context.Background(), requestFor(60, key))
					if err != nil {
						if !errors.Is(err, reason) {
							panic(err)
						}
						return
					}
					mu.Lock()
					acknowledged[key] = true
					mu.Unlock()
				}
			})
		}
		for range round * 20 {
			runtime.Gosched()
		}
		s.pipeline.stop(reason)
		groups := s.committed() // nothing is committed from here on
		writers.Wait()
		committed := slices.Concat(groups...)
		require.Len(t, committed, len(acknowledged))
		for _, key := range committed {
			require.True(t, acknowledged[key], key)
		}
		require.Len(t, s.committed(), len(groups))
		_, err := s.pipeline.submit(context.Background(), requestFor(0, "late"))
		require.ErrorIs(t, err, reason)
		require.ErrorIs(t, s.pipeline.between(context.Background(), func() error { panic("late") }), reason)
	}
	for runtime.NumGoroutine() > before { // the flushers have ended
		runtime.Gosched()
	}
}

// Writers that wait for room when the pipeline stops are answered too.
func TestPipelineStopFreesWhoWaits(t *testing.T) {
	size := requestFor(100, "k").weight
	s := newSink(t, pipelineLimit{group: size, queue: size}).gated()
	first := s.hold(t)
	queued := s.submitAll(context.Background(), requestFor(100, "a"))
	late := make(chan answer, 1)
	go func() {
		abandoned, err := s.pipeline.submit(context.Background(), requestFor(100, "late"))
		late <- answer{abandoned, err}
	}()
	stopped := make(chan struct{})
	go func() { s.pipeline.stop(ErrClosed); close(stopped) }()
	require.Equal(t, answer{err: ErrClosed}, <-late)
	select {
	case <-stopped:
		require.Fail(t, "stop did not wait for what was handed over")
	default:
	}
	s.leave <- nil
	require.Equal(t, answer{}, <-first)
	<-s.enter
	s.leave <- nil
	require.Equal(t, answer{}, <-queued[0])
	<-stopped
	assert.Equal(t, [][]string{{"first"}, {"a"}}, s.committed())
}
