package engine_test

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// modelStep is one thing done to a database and its model. It holds choices, not what they come to: deadlines, versions
// and values follow from the state that it meets, so that a list of steps means the same to every database.
type modelStep struct {
	Kind       stepKind
	Key        string
	Size       int // of values
	Until      deadlineKind
	N          int // which snapshot, how long, how far
	Start, End []byte
	Steps      []modelStep // of a batch, a transaction; what writers do at a time
	Conditions []conditionChoice
	Disturb    *modelStep // what comes between in a transaction, before Steps[N]
	Flag, Last bool       // what they mean depends on the kind
}

// GoString is how rapid prints it.
func (s modelStep) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{%s", s.Kind)
	for _, part := range []struct {
		name  string
		value any
		zero  bool
	}{
		{"", brief(s.Key), s.Key == ""}, {"Size:", s.Size, s.Size == 0}, {"Until:", int(s.Until), s.Until == 0}, {"N:", s.N, s.N == 0},
		{"Start:", brief(s.Start), s.Start == nil}, {"End:", brief(s.End), s.End == nil}, {"", s.Steps, s.Steps == nil},
		{"Conditions:", s.Conditions, s.Conditions == nil}, {"Disturb:", s.Disturb, s.Disturb == nil},
		{"", "Flag", !s.Flag}, {"", "Last", !s.Last},
	} {
		if !part.zero {
			fmt.Fprintf(&b, " %s%v", part.name, part.value)
		}
	}
	return b.String() + "}"
}

func (s modelStep) String() string { return s.GoString() }

type stepKind string

// The kinds of steps.
const (
	stepSet        stepKind = "set"
	stepSetUntil   stepKind = "set until"
	stepDelete     stepKind = "delete"
	stepTouch      stepKind = "touch"
	stepBatch      stepKind = "batch"
	stepUpdate     stepKind = "update"
	stepTogether   stepKind = "together"
	stepRefused    stepKind = "refused"
	stepRead       stepKind = "read"
	stepSnapshot   stepKind = "snapshot"
	stepScan       stepKind = "scan"
	stepClock      stepKind = "clock"
	stepDump       stepKind = "dump"
	stepCheckpoint stepKind = "checkpoint"
	stepBackup     stepKind = "backup"
	stepReopen     stepKind = "reopen"
	stepCrash      stepKind = "crash"
)

// stepWeights: how often a kind of step comes, of all. A step that opens files costs as much as a hundred others.
var stepWeights = []struct {
	kind stepKind
	n    int
}{
	{stepBackup, 1}, {stepCrash, 2}, {stepReopen, 2}, {stepCheckpoint, 4}, {stepTogether, 4}, {stepRefused, 3}, {stepDump, 8},
	{stepTouch, 12}, {stepDelete, 12}, {stepSnapshot, 16}, {stepClock, 26}, {stepUpdate, 28}, {stepBatch, 28}, {stepSet, 26},
	{stepRead, 20}, {stepSetUntil, 30}, {stepScan, 34},
}

// stepKinds is stepWeights as a list to choose from, interleaved: rapid prefers what stands near the front, and the last.
var stepKinds = func() (kinds []stepKind) {
	for round := range 34 {
		for _, w := range stepWeights {
			if round*w.n/34 != (round+1)*w.n/34 {
				kinds = append(kinds, w.kind)
			}
		}
	}
	return kinds
}()

type deadlineKind int

// The deadlines, as seen from the engine time at which the step begins.
const (
	untilSoon  deadlineKind = iota // N+1 seconds
	untilNext                      // the next nanosecond
	untilNow                       // due at once
	untilPast                      // due long since
	untilFar                       // ten years
	untilNever                     // none
	untilKinds
)

func (k deadlineKind) at(now int64, n int) int64 {
	switch k {
	case untilSoon:
		return now + int64(n+1)*int64(time.Second)
	case untilNext:
		return now + 1
	case untilNow:
		return now
	case untilPast:
		return now - int64(time.Hour)
	case untilFar:
		return now + 10*365*24*int64(time.Hour)
	default:
		return 0
	}
}

type conditionKind int

// The conditions.
const (
	whenAbsent conditionKind = iota
	whenPresent
	whenVersion
	whenValue
)

// conditionChoice is a condition; Right asks for what there is, otherwise for something else.
type conditionChoice struct {
	Kind  conditionKind
	Key   string
	Right bool
}

func (c conditionChoice) String() string { return fmt.Sprint(c.Kind, " ", brief(c.Key), " ", c.Right) }

// modelKeys are few, so that everything meets. They share prefixes, differ in zeros at the end and in length alone, and begin with the greatest
// and the least byte.
var modelKeys = []string{
	"a", "b", "ab", "abc", "a\x00", "a\x00\x00", "\x00", "\x00\x00", "\x00\xff", "\xff", "\xff\xff", "\xff\x00", "\xff\xff\xff",
	"1234567", "1234567\x00", "12345678", "12345678\x00", "123456789", "12345678\xff",
	"é", strings.Repeat("a", 300), strings.Repeat("a", 299) + "b", strings.Repeat("\xff", 5000),
}

// modelBounds are where scans begin and end.
var modelBounds = func() [][]byte {
	bounds := [][]byte{nil, {}}
	for _, key := range modelKeys {
		bounds = append(bounds, []byte(key), []byte(key+"\x00"), []byte(key[:len(key)/2]))
	}
	return bounds
}()

var modelSizes = []int{20, 0, 1, 24, 100, 600, 20, 4200}

var (
	drawKind      = rapid.SampledFrom(stepKinds)
	drawKey       = rapid.SampledFrom(modelKeys)
	drawSize      = rapid.SampledFrom(modelSizes)
	drawBound     = rapid.SampledFrom(modelBounds)
	drawUntil     = rapid.IntRange(0, int(untilKinds)-1)
	drawN         = rapid.IntRange(0, 9)
	drawFew       = rapid.IntRange(0, 5)
	drawCondition = rapid.IntRange(0, 7)
	drawWriteKind = rapid.SampledFrom([]stepKind{stepSet, stepSetUntil, stepDelete})
	drawTxKind    = rapid.SampledFrom([]stepKind{stepRead, stepSet, stepSetUntil, stepRead, stepDelete})
	drawDisturb   = rapid.SampledFrom([]stepKind{stepSet, stepClock, stepDelete, stepSetUntil, stepTouch})
	drawFlag      = rapid.Bool()
)

// drawStep chooses a step.
var drawStep = rapid.Custom(func(t *rapid.T) modelStep { return drawStepOf(t, drawKind.Draw(t, "kind")) })

func drawStepOf(t *rapid.T, kind stepKind) modelStep {
	s := modelStep{Kind: kind}
	switch kind {
	case stepSet, stepSetUntil, stepDelete, stepTouch:
		return drawWrite(t, kind)
	case stepBatch:
		return drawBatch(t)
	case stepTogether:
		for range 2 + drawFew.Draw(t, "writers") {
			s.Steps = append(s.Steps, drawBatch(t))
		}
	case stepUpdate:
		return drawUpdate(t)
	case stepRead:
		s.Key = drawKey.Draw(t, "key")
		s.N = drawN.Draw(t, "snapshot")
	case stepRefused, stepSnapshot, stepClock:
		s.N = drawN.Draw(t, "n")
	case stepScan:
		s.N = drawN.Draw(t, "snapshot")
		s.Start, s.End = drawBound.Draw(t, "start"), drawBound.Draw(t, "end")
		s.Size = drawN.Draw(t, "leave")
		s.Until = deadlineKind(drawFew.Draw(t, "way"))
		s.Flag = drawFlag.Draw(t, "nested")
	case stepBackup, stepReopen, stepCrash:
		s.Flag, s.Last = drawFlag.Draw(t, "flag"), drawFlag.Draw(t, "turn back")
	}
	return s
}

func drawWrite(t *rapid.T, kind stepKind) modelStep {
	s := modelStep{Kind: kind, Key: drawKey.Draw(t, "key")}
	if kind != stepDelete {
		s.Size = drawSize.Draw(t, "size")
	}
	if kind == stepSetUntil || kind == stepTouch {
		s.Until = deadlineKind(drawUntil.Draw(t, "until"))
		s.N = drawN.Draw(t, "seconds")
	}
	return s
}

func drawBatch(t *rapid.T) modelStep {
	s := modelStep{Kind: stepBatch}
	for range drawFew.Draw(t, "operations") {
		s.Steps = append(s.Steps, drawWrite(t, drawWriteKind.Draw(t, "kind")))
	}
	for range drawFew.Draw(t, "conditions") / 2 {
		c := drawCondition.Draw(t, "condition")
		s.Conditions = append(s.Conditions, conditionChoice{conditionKind(c % 4), drawKey.Draw(t, "key"), c < 4})
	}
	return s
}

func drawUpdate(t *rapid.T) modelStep {
	s := modelStep{Kind: stepUpdate, Flag: drawFlag.Draw(t, "stubborn"), Last: drawN.Draw(t, "gives up") == 9}
	for range drawFew.Draw(t, "operations") {
		kind := drawTxKind.Draw(t, "kind")
		if kind == stepRead {
			s.Steps = append(s.Steps, modelStep{Kind: kind, Key: drawKey.Draw(t, "key")})
			continue
		}
		s.Steps = append(s.Steps, drawWrite(t, kind))
	}
	if n := len(s.Steps); n > 0 && drawFlag.Draw(t, "disturb") {
		s.N = rapid.IntRange(0, n).Draw(t, "before")
		d := drawStepOf(t, drawDisturb.Draw(t, "by"))
		if d.Kind != stepClock && drawFlag.Draw(t, "meet") {
			d.Key = s.Steps[rapid.IntRange(0, n-1).Draw(t, "whom")].Key
		}
		s.Disturb = &d
	}
	return s
}
