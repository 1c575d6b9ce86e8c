package http

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/tongpengdl/small-db/engine"
)

// An import reads ahead of what it commits, by some batches. An entry that is larger than a batch is one by itself.
const (
	importBatchBytes = 256 << 10 // of keys and values
	importBatchLines = 1000
	importBatches    = 4 // one is filled while the others wait or are committed
)

// importLines sets what the lines of the body say.
func (s *Server) importLines(w http.ResponseWriter, r *http.Request) {
	sc := takeScratch()
	defer s.bodies.release(sc)
	lines := &lineReader{server: s, w: w, body: r.Body, sc: sc, left: pieceBytes}
	imported, err := uint64(0), refuseQuery(r)
	if err == nil {
		err = lines.begin(r.ContentLength)
	}
	if err == nil {
		imported, err = s.importFrom(context.WithoutCancel(r.Context()), lines) // what has come counts, though the client may go
	}
	renewDeadlines(w)
	if err == nil {
		answer(w, http.StatusOK, appendImported(append(sc.text[:0], `{"ok":true`...), imported))
	} else {
		lines.answerError(err, imported)
	}
	sc.giveBack()
}

// answerError says how far an import came, and why not farther. Where the rest of the body was not read the connection
// ends: see answerUnread.
func (l *lineReader) answerError(err error, imported uint64) {
	status, text := statusOf(err, "")
	if !l.ended {
		l.w.Header()["Connection"] = connectionClose
	}
	sayWhen(l.w, err)
	answer(l.w, status, appendImported(appendString([]byte(`{"error":`), []byte(text)), imported))
}

func appendImported(dst []byte, imported uint64) []byte {
	dst = append(dst, `,"imported":`...)
	dst = strconv.AppendUint(dst, imported, 10)
	return append(dst, "}\n"...)
}

// importFrom imports lines up to the last, or to one that is wrong, and returns how many of the first lines are
// certainly durable.
func (s *Server) importFrom(ctx context.Context, lines *lineReader) (imported uint64, err error) {
	i := &importer{
		store: s.store, maxValue: s.maxValue, lines: lines,
		full: make(chan *engine.Batch, importBatches), empty: make(chan *engine.Batch, importBatches), done: make(chan struct{}),
	}
	i.renewBatches()
	go i.commit(ctx)
	err = i.fill()
	<-i.done
	if i.panicked != nil {
		panic(i.panicked)
	}
	return i.imported, cmp.Or(i.err, err) // the batch that failed came before the line that is wrong
}

// importer is an import under way. The handler fills batches, and a goroutine commits them one after the other, so that
// a later line wins.
type importer struct {
	store    Store
	maxValue int
	lines    *lineReader

	full  chan *engine.Batch // filled ones, in order; it has room for all, so that sending never waits
	empty chan *engine.Batch // committed ones, also with room for all; closed when there will be no more
	done  chan struct{}      // closed when the goroutine has ended

	// The handler's.
	free  []*engine.Batch
	batch *engine.Batch // that is being filled; nil if none
	bytes int           // of the keys and values in it
	large bool          // the last batch that was sent holds one entry larger than a batch

	// The goroutine's, and after done the handler's.
	imported uint64
	err      error
	panicked any
}

// renewBatches makes the batches that circulate new ones.
func (i *importer) renewBatches() {
	i.free = i.free[:0]
	for range importBatches {
		i.free = append(i.free, new(engine.Batch))
	}
}

// fill sends all that is right up to the first line that is wrong, and says what is wrong with that. It returns nil
// when the goroutine has failed, which knows why.
func (i *importer) fill() error {
	defer close(i.full)
	defer i.send()
	var e engine.Entry
	for number := 1; ; number++ {
		err := i.decode(&e)
		if err == nil {
			if !i.add(&e) {
				return nil
			}
			continue
		}
		if _, ofBody := errors.AsType[*requestError](err); ofBody {
			return err
		}
		if err == io.EOF {
			return nil
		}
		return &requestError{http.StatusBadRequest, fmt.Sprintf("line %d: %v", number, err)}
	}
}

// decode reads the next line. io.EOF means that there is none, a requestError that the body is at fault.
func (i *importer) decode(e *engine.Entry) error {
	line, err := i.lines.next()
	if err != nil {
		return err
	}
	if err := DecodeLine(line, e); err != nil {
		return err
	}
	return checkValueLen(e.Value, i.maxValue)
}

// add adds an entry to a batch. It returns false when the goroutine has failed.
func (i *importer) add(e *engine.Entry) bool {
	size := len(e.Key) + len(e.Value)
	if i.batch != nil && (i.bytes+size > importBatchBytes || i.batch.Len() == importBatchLines) {
		i.send()
	}
	if i.batch == nil && !i.take() {
		return false
	}
	i.batch.SetUntil(e.Key, e.Value, e.Deadline)
	i.bytes += size
	return true
}

// send hands the batch that is being filled to the goroutine.
func (i *importer) send() {
	if i.batch != nil {
		i.large = i.bytes > importBatchBytes
		i.full <- i.batch
		i.batch, i.bytes = nil, 0
	}
}

// take takes a batch to fill. After a large entry it waits until everything is committed, and lets the memory go: of those
// there is never more than one. It returns false when the goroutine has failed.
func (i *importer) take() bool {
	need := 1
	if i.large {
		need = importBatches
	}
	for len(i.free) < need {
		var batch *engine.Batch
		var ok bool
		select {
		case batch, ok = <-i.empty:
		default:
			batch, ok = <-i.empty
			i.lines.renewDeadline() // the store was slow, not the client
		}
		if !ok {
			return false
		}
		i.free = append(i.free, batch)
	}
	if i.large {
		i.large = false
		i.renewBatches()
	}
	last := len(i.free) - 1
	i.batch, i.free = i.free[last], i.free[:last]
	return true
}

// commit applies batches until there are no more, or one fails. A panic is the handler's: here it would end the process.
func (i *importer) commit(ctx context.Context) {
	defer close(i.done)
	defer func() {
		if p := recover(); p != nil {
			i.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
		}
		close(i.empty)
	}()
	for batch := range i.full {
		if _, i.err = i.store.Apply(ctx, batch); i.err != nil {
			return
		}
		i.imported += uint64(batch.Len())
		batch.Reset()
		i.empty <- batch
	}
}
