package http

import (
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tongpengdl/small-db/engine"
)

// export sends the entries that the query selects, of one snapshot. A slow client holds the snapshot, which stops nobody.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	selected, err := parseSelection(r.URL.RawQuery)
	if err != nil {
		answerError(w, err, "")
		return
	}
	s.serveStream(w, r, contentTypeLines, func(out *stream) error {
		sc := takeScratch()
		defer sc.giveBack()
		return selected.write(out, s.store.Snapshot(), sc)
	})
}

// selection says which entries are exported.
type selection struct {
	start, end []byte // from start to before end; nil is no bound
	limit      uint64 // 0 is none
	reverse    bool   // from the greatest key to the least
}

// parseSelection reads a query. It refuses what it does not know: a misspelt bound would export everything.
func parseSelection(query string) (*selection, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, &requestError{http.StatusBadRequest, cut("invalid query: "+err.Error(), maxEchoBytes)}
	}
	q := new(selection)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			return nil, &requestError{http.StatusBadRequest, "invalid query: it has more than one " + cut(name, maxEchoBytes)}
		}
		if problem := q.set(name, values.Get(name)); problem != "" {
			return nil, &requestError{http.StatusBadRequest, "invalid query: " + problem}
		}
	}
	if prefix := values.Get("prefix"); prefix != "" {
		if q.start != nil || q.end != nil {
			return nil, &requestError{http.StatusBadRequest, "invalid query: prefix goes with neither start nor end"}
		}
		q.start, q.end = []byte(prefix), engine.PrefixEnd([]byte(prefix))
	}
	return q, nil
}

// set sets what a parameter stands for, or says what is wrong with it.
func (q *selection) set(name, value string) (problem string) {
	var err error
	switch name {
	case "prefix":
	case "start":
		q.start = bound(value)
	case "end":
		q.end = bound(value)
	case "limit":
		if q.limit, err = strconv.ParseUint(value, 10, 64); err != nil || q.limit == 0 {
			return "limit is a number from 1 on"
		}
	case "reverse":
		if q.reverse, err = strconv.ParseBool(value); err != nil {
			return "reverse is true or false"
		}
	default:
		return "there are prefix, start, end, limit and reverse, but no " + strconv.Quote(cut(name, maxEchoBytes))
	}
	return ""
}

func bound(value string) []byte {
	if value == "" {
		return nil
	}
	return []byte(value)
}

// write writes the entries as lines.
func (q *selection) write(out *stream, snapshot *engine.Snapshot, sc *scratch) error {
	lines := newSender(out, sc)
	left := q.limit
	for e := range q.entries(snapshot) {
		if err := lines.line(&e); err != nil {
			return err
		}
		if left--; left == 0 {
			break
		}
	}
	if err := snapshot.Err(); err != nil {
		return err
	}
	return lines.send()
}

// entries yields the selected entries of a snapshot, whose Err says whether these were all.
func (q *selection) entries(snapshot *engine.Snapshot) iter.Seq[engine.Entry] {
	if !q.reverse {
		return snapshot.Entries(q.start, q.end)
	}
	return func(yield func(engine.Entry) bool) {
		for key, value := range snapshot.Backward(q.start, q.end) {
			deadline, ok, err := deadlineOf(snapshot, key)
			if err != nil || ok && !yield(engine.Entry{Key: key, Value: value, Deadline: deadline}) {
				return
			}
		}
	}
}

// deadlineOf lets go of the copy of the value that comes with it.
func deadlineOf(snapshot *engine.Snapshot, key []byte) (deadline time.Time, ok bool, err error) {
	e, ok, err := snapshot.Entry(key)
	return e.Deadline, ok, err
}
