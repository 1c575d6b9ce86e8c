package engine_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// TestLinearizable records what clients ask and are told while the process is killed, or the power cut, over and over, and has it checked that
// all of it can be put into one order in which every answer is right and none comes before its question or after the next one of
// the same client. What has no answer may have happened at any time since, or never.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	histories := enginetest.Times(6, 2000)
	seed := enginetest.Seed(t, 1)
	var total tallyOfHistory
	for i := range histories {
		h := newHistory(t, seed+uint64(i))
		h.record(4, 600)
		require.GreaterOrEqual(t, len(h.operations), 2000, "seed %d", h.seed)
		result, _ := porcupine.CheckOperationsVerbose(keyModel, h.operations, checkTime)
		require.Equal(t, porcupine.Ok, result, "seed %d: %s", h.seed, explain(h.operations))
		total.add(&h.tally)
	}
	t.Logf("%d histories, %d operations, %d of them of unknown outcome, %d conditions that failed, %d kills, %d of them power cuts: all linearizable",
		histories, total.operations, total.unknown, total.refused, total.kills, total.cuts)
	require.Positive(t, total.unknown)
	require.Positive(t, total.refused)
	require.Positive(t, total.cuts)
}

// TestLinearizableTogether is the same for what concerns several keys at once: batches, conditions on one key and operations on others, and snapshots.
func TestLinearizableTogether(t *testing.T) {
	t.Parallel()
	histories := enginetest.Times(3, 500)
	seed := enginetest.Seed(t, 1000)
	var total tallyOfHistory
	for i := range histories {
		h := newHistory(t, seed+uint64(i))
		h.together = true
		h.record(3, 150)
		result, _ := porcupine.CheckOperationsVerbose(databaseModel, h.operations, checkTime)
		require.Equal(t, porcupine.Ok, result, "seed %d", h.seed)
		total.add(&h.tally)
	}
	t.Logf("%d histories, %d operations, %d of them of unknown outcome, %d kills: all linearizable", histories, total.operations, total.unknown, total.kills)
}

// A history that no order makes right is found out, whatever is wrong with it.
func TestLinearizabilityIsChecked(t *testing.T) {
	h := newHistory(t, 1)
	h.record(1, 400) // no kill, so that every outcome is known
	reads := 0
	for i := range h.operations {
		in, out := h.operations[i].Input.(ask), h.operations[i].Output.(told)
		if in.what != askGet || out.value == "" {
			continue
		}
		if reads++; reads%20 != 0 {
			continue
		}
		wrong := append([]porcupine.Operation(nil), h.operations...)
		wrong[i].Output = told{value: out.value + "?"}
		require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(keyModel, wrong, checkTime), "a value that nobody wrote")
		wrong[i].Output = told{}
		wrong[i].Call, wrong[i].Return = math.MaxInt64-2, math.MaxInt64-1
		last := append(wrong, porcupine.Operation{ClientId: 99, Input: ask{what: askSet, key: in.key, value: "last"}, Call: math.MaxInt64 - 4, Output: told{}, Return: math.MaxInt64 - 3})
		require.NotEqual(t, porcupine.Ok, porcupine.CheckOperationsTimeout(keyModel, last, checkTime), "a write that was acknowledged and is gone")
	}
	require.Greater(t, reads, 20)
}

// checkTime is how long the checker may take before that counts as a failure. It takes milliseconds.
const checkTime = time.Minute

const (
	linearClients = 8
	linearKeys    = 16
	togetherKeys  = 4
)

// ask is what a client asks, told what it is told.
type (
	ask struct {
		what      asked
		key       int
		value     string // to set
		old       string // that a conditional set wants to see; "" for no value
		other     int    // the second key of a batch
		unchecked bool   // the batch has no condition
	}
	told struct {
		value   string // "" if the key is not set
		all     [togetherKeys]string
		refused bool // the condition failed
		unknown bool
	}
	asked int
)

const (
	askGet asked = iota
	askSet
	askDelete
	askCompareAndSet
	askBatch    // if key has the value old, it and other are set
	askSnapshot // of all keys
)

// keyModel is what one key must do; keys are independent of each other.
var keyModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, linearKeys)
		for _, op := range history {
			k := op.Input.(ask).key
			parts[k] = append(parts[k], op)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		is, in, out := state.(string), input.(ask), output.(told)
		switch in.what {
		case askSet:
			return true, in.value
		case askDelete:
			return true, ""
		case askCompareAndSet:
			holds := is == in.old
			if !out.unknown && holds == out.refused {
				return false, is
			}
			if holds {
				return true, in.value
			}
			return true, is
		}
		return out.unknown || is == out.value, is
	},
}

// databaseModel is what a few keys must do together.
var databaseModel = porcupine.Model{
	Init: func() any { return [togetherKeys]string{} },
	Step: func(state, input, output any) (bool, any) {
		is, in, out := state.([togetherKeys]string), input.(ask), output.(told)
		switch in.what {
		case askGet:
			return out.unknown || is[in.key] == out.value, is
		case askSnapshot:
			return out.unknown || is == out.all, is
		case askSet:
			is[in.key] = in.value
		case askDelete:
			is[in.key] = ""
		case askCompareAndSet, askBatch:
			holds := in.unchecked || is[in.key] == in.old
			if !out.unknown && holds == out.refused {
				return false, is
			}
			if !holds {
				return true, is
			}
			is[in.key] = in.value
			if in.what == askBatch {
				is[in.other] = in.value
			}
		}
		return true, is
	},
}

// tallyOfHistory are its figures.
type tallyOfHistory struct{ operations, unknown, refused, kills, cuts int }

func (t *tallyOfHistory) add(o *tallyOfHistory) {
	t.operations += o.operations
	t.unknown += o.unknown
	t.refused += o.refused
	t.kills += o.kills
	t.cuts += o.cuts
}

// history is what clients did over several lives of a database.
type history struct {
	t        *testing.T
	seed     uint64
	rng      *rand.Rand
	together bool
	started  time.Time
	values   atomic.Int64 // each value is written once

	mu         sync.Mutex
	operations []porcupine.Operation
	tally      tallyOfHistory
}

func newHistory(t *testing.T, seed uint64) *history {
	return &history{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 9)), started: time.Now()}
}

// record lets clients work in so many lives, of about so many operations each. All but the last end with a kill.
func (h *history) record(lives, operations int) {
	dir := h.t.TempDir()
	for life := range lives {
		rec := mmapiotest.NewRecorder()
		opts := engine.Options{Dir: dir, Create: true, LogFileBytes: 64 << 10, DisableBackgroundCheckpoint: true, OpenDir: rec.OpenDir}
		db, err := engine.Open(opts)
		require.NoError(h.t, err, "seed %d, life %d", h.seed, life)
		h.live(db, rec, operations, life < lives-1)
		if life == lives-1 {
			require.NoError(h.t, db.Close())
			return
		}
		require.Error(h.t, db.Close(), "it was killed")
		h.tally.kills++
		if h.rng.IntN(3) > 0 { // the power goes as well
			h.tally.cuts++
			trace := rec.Trace()
			mode := mmapiotest.Modes()[h.rng.IntN(len(mmapiotest.Modes()))]
			dir = h.t.TempDir()
			require.NoError(h.t, trace.Crash(mmapiotest.Cut{Op: len(trace)}, mode, h.seed).WriteTo(dir))
		}
	}
}

// live lets clients work until so many operations were begun. With kill the process ends then, wherever it is.
func (h *history) live(db *engine.DB, rec *mmapiotest.Recorder, operations int, kill bool) {
	var clients sync.WaitGroup
	var begun atomic.Int64
	killAt := int64(operations - h.rng.IntN(operations/10))
	checkpointAt := int64(h.rng.IntN(operations))
	clientsOf := linearClients
	if h.together {
		clientsOf /= 2 // the checker's work grows steeply with what is open at once
	}
	for c := range clientsOf {
		rng := rand.New(rand.NewPCG(h.rng.Uint64(), uint64(c)))
		clients.Go(func() {
			for {
				switch n := begun.Add(1); {
				case n == killAt && kill:
					rec.Kill()
					return
				case n == checkpointAt:
					_ = db.Checkpoint(ctx) // may meet the kill
				case n > int64(operations):
					return
				}
				if !h.ask(db, c, h.draw(rng)) {
					return
				}
			}
		})
	}
	clients.Wait()
}

// draw draws a question.
func (h *history) draw(rng *rand.Rand) ask {
	keys, kinds := linearKeys, []asked{askGet, askGet, askSet, askDelete, askCompareAndSet, askCompareAndSet}
	if h.together {
		keys, kinds = togetherKeys, []asked{askGet, askSnapshot, askSet, askDelete, askCompareAndSet, askBatch, askBatch}
	}
	a := ask{what: kinds[rng.IntN(len(kinds))], key: rng.IntN(keys)}
	a.value = fmt.Sprint(h.values.Add(1))
	if rng.IntN(8) == 0 {
		a.value += string(bytesOf(a.value, 3000))
	}
	a.other = (a.key + 1 + rng.IntN(keys-1)) % keys
	a.unchecked = a.what == askBatch && rng.IntN(2) == 0
	return a
}

// ask asks and notes what was told; false once the database is dead.
func (h *history) ask(db *engine.DB, client int, a ask) bool {
	key := linearKey(a.key)
	if a.what == askCompareAndSet || a.what == askBatch && !a.unchecked {
		old, ok, err := db.Get(key) // mostly right still
		if err != nil {
			return false
		}
		if ok {
			a.old = string(old)
		}
	}
	op := porcupine.Operation{ClientId: client, Input: a, Call: time.Since(h.started).Nanoseconds()}
	out, err := perform(db, a)
	op.Return = time.Since(h.started).Nanoseconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tally.operations++
	switch {
	case errors.Is(err, engine.ErrConditionFailed):
		out.refused = true
		h.tally.refused++
	case err != nil && (a.what == askGet || a.what == askSnapshot):
		h.t.Errorf("seed %d: a read failed: %v", h.seed, err)
	case errors.Is(err, engine.ErrPoisoned): // nothing was written
		h.tally.operations--
		return false
	case err != nil:
		out.unknown = true
		op.Return = math.MaxInt64
		h.tally.unknown++
	}
	op.Output = out
	h.operations = append(h.operations, op)
	return err == nil || out.refused
}

func linearKey(i int) []byte { return fmt.Appendf(nil, "key-%d", i) }

// perform does what is asked.
func perform(db *engine.DB, a ask) (out told, err error) {
	key, value := linearKey(a.key), []byte(a.value)
	switch a.what {
	case askGet:
		var got []byte
		got, _, err = db.Get(key)
		out.value = string(got)
	case askSnapshot:
		s := db.Snapshot()
		for i := range out.all {
			got, _, getErr := s.Get(linearKey(i))
			out.all[i], err = string(got), errors.Join(err, getErr)
		}
	case askSet:
		_, err = db.Set(ctx, key, value)
	case askDelete:
		_, err = db.Delete(ctx, key)
	default:
		var b engine.Batch
		switch {
		case a.unchecked:
		case a.old == "":
			b.IfAbsent(key)
		default:
			b.IfValue(key, []byte(a.old))
		}
		b.Set(key, value)
		if a.what == askBatch {
			b.Set(linearKey(a.other), value)
		}
		_, err = db.Apply(ctx, &b)
	}
	return out, err
}

// explain finds the keys whose histories are wrong.
func explain(history []porcupine.Operation) (wrong string) {
	for k, part := range keyModel.Partition(history) {
		if result := porcupine.CheckOperationsTimeout(keyModel, part, checkTime); result != porcupine.Ok {
			wrong += fmt.Sprintf(" key %d (%d operations): %s;", k, len(part), result)
		}
	}
	return wrong
}
