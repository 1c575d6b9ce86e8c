package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks"
)

// serverHere is a handler in this process, in the place of the empty one.
func serverHere(t *testing.T, handler http.HandlerFunc) *server {
	here := httptest.NewServer(handler)
	t.Cleanup(here.Close)
	process, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	return &server{contender: emptyContender(), addr: strings.TrimPrefix(here.URL, "http://"), cmd: &exec.Cmd{Process: process}}
}

// TestWrongAnswersFail: each answer that is wrong is counted, and one is enough to fail a turn.
func TestWrongAnswersFail(t *testing.T) {
	for _, row := range []struct {
		name, said string
		wrong      http.HandlerFunc
	}{
		{"status", "status 503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"body", "answer to a", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("another")) }},
		{"connection", "EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		for _, o := range []operation{getOperation, putOperation} {
			t.Run(row.name+" "+o.name, func(t *testing.T) {
				var requests atomic.Int64
				s := serverHere(t, func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 5 { // the first two are those that connect
						row.wrong(w, r)
						return
					}
					serveEmpty(w, r)
				})
				b := &bench{plan: tinyPlan(), ctx: context.Background()}
				_, err := b.turn(s, o, 2, 50*time.Millisecond)
				require.ErrorContains(t, err, "1 of "+counted(&requests)+" requests to "+o.name+" failed")
				require.ErrorContains(t, err, row.said)
			})
		}
	}
}

// counted is how many requests a turn of two connections has made.
func counted(requests *atomic.Int64) string { return itoa(requests.Load() - 2) }

// TestLoadFails: so does a load.
func TestLoadFails(t *testing.T) {
	var puts atomic.Int64
	s := serverHere(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) == 50 {
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		serveEmpty(w, r)
	})
	b := &bench{plan: tinyPlan(), ctx: context.Background()}
	err := b.load(s)
	require.ErrorContains(t, err, "1 of 100 requests to PUT failed")
	require.ErrorContains(t, err, "507")
	require.NoError(t, b.load(s))
}

// TestTurnEnds: a turn ends with its context, and its connections with it.
func TestTurnEnds(t *testing.T) {
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	s := serverHere(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			cancel()
			<-release
		}
		serveEmpty(w, r)
	})
	t.Cleanup(func() { close(release) }) // before that of the server
	b := &bench{plan: tinyPlan(), ctx: ctx}
	_, err := b.turn(s, putOperation, 2, time.Millisecond)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPairs(t *testing.T) {
	const n = 10_000
	seen := map[string]bool{}
	for i := range uint64(n) {
		var p pair
		p.choose(i)
		key := string(p.key[:])
		require.Regexp(t, "^[0-9a-f]{16}$", key)
		require.NoError(t, p.check(p.value[:]))
		seen[key] = true
	}
	require.Len(t, seen, n)
	var p, other pair
	p.choose(1)
	other.choose(2)
	require.ErrorIs(t, p.check(other.value[:]), errAnswer)
	require.ErrorIs(t, p.check(p.value[:benchmarks.ValueLen-1]), errAnswer)
	require.ErrorIs(t, p.check(nil), errAnswer)
}

// TestRatios: a ratio is the median over the rounds.
func TestRatios(t *testing.T) {
	b := &bench{results: newResults()}
	at := func(ops ...uint64) (all []*result) {
		for _, n := range ops {
			all = append(all, &result{Slice: &benchmarks.Slice{Ops: n, Took: time.Second}, serverCPU: time.Millisecond})
		}
		return all
	}
	b.addRatios(turns{ours: at(10, 40, 90), redisName: at(10, 10, 30)}, putOperation)
	require.Equal(t, map[string]float64{putVsRedis: 3}, b.results.Ratios)
	b.addRatios(turns{ours: at(10, 20, 10), emptyName: at(10, 10, 30)}, getOperation)
	require.InDelta(t, 1, b.results.Ratios[getCPU], 1e-9)
}

// TestEmptySettings: the empty handler is served as this project serves its own.
func TestEmptySettings(t *testing.T) {
	source, err := os.ReadFile("../../http/server.go")
	require.NoError(t, err)
	for _, part := range []string{"headerTimeout = 5 * time.Second", "idleTimeout   = 60 * time.Second", "readTimeout = 30 * time.Second",
		"writeTimeout = 2 * readTimeout", "maxHeaderBytes = 16<<10 + 3*format.MaxKeyLen", "DisableGeneralOptionsHandler: true"} {
		require.Contains(t, string(source), part, "emptyServer must follow")
	}
	for _, part := range []string{"SetKeepAlivesEnabled", "ConnState:", "ConnContext:", "BaseContext:", "Protocols:", "HTTP2:", "TLSConfig:"} {
		require.NotContains(t, string(source), part, "emptyServer must follow")
	}
}
