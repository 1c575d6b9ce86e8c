package http_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// besieged is a server of a real database one of whose mapped files is cut while clients read.
type besieged struct {
	t      *testing.T
	opts   engine.Options
	server *kvhttp.Server
	client *http.Client
	cut    atomic.Int32 // 0 before the files are cut, 1 while they are, 2 after

	mu     sync.Mutex
	counts map[string]int // answers, by route and outcome
}

const besiegedKeys = 300

func besiegedKey(i int) string   { return fmt.Sprintf("key-%04d", i) }
func besiegedValue(i int) string { return strings.Repeat(fmt.Sprintf("value-%d.", i), 400) }

func (b *besieged) count(route, outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[route+": "+outcome]++
}

// request returns the answer; whole says that the client can tell that it came to its end.
func (b *besieged) request(method, path, body string) (status int, answer []byte, whole bool) {
	request, err := http.NewRequest(method, "http://"+b.server.Addr().String()+path, strings.NewReader(body))
	if !assert.NoError(b.t, err) {
		return 0, nil, false
	}
	response, err := b.client.Do(request)
	if err != nil { // cut off before the first byte of the body
		return 0, nil, false
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err == nil
}

// refused checks an answer that is not the one asked for: 500 with the reason, which names the file.
func (b *besieged) refused(route string, status int, answer []byte) {
	b.count(route, fmt.Sprint(status))
	assert.Equal(b.t, 500, status, "%s: %.300s", route, answer)
	assert.Contains(b.t, string(answer), `{"error":"`)
	assert.Contains(b.t, string(answer), "corrupt at offset")
}

func (b *besieged) get(rng *rand.Rand) {
	i := rng.IntN(besiegedKeys)
	status, answer, whole := b.request("GET", "/v1/kv/"+besiegedKey(i), "")
	assert.True(b.t, whole, "an answer to a GET is never cut off")
	if status != 200 {
		b.refused("get", status, answer)
		return
	}
	b.count("get", "whole")
	var entry struct{ Key, Value string }
	assert.NoError(b.t, json.Unmarshal(answer, &entry))
	value, err := base64.StdEncoding.DecodeString(entry.Value)
	assert.NoError(b.t, err)
	assert.True(b.t, entry.Key == besiegedKey(i) && string(value) == besiegedValue(i), "%s is %.40q", entry.Key, value)
}

// export is whole, or cut off so that the client sees it, or refused. No line of it is wrong.
func (b *besieged) export(reverse bool) {
	status, answer, whole := b.request("GET", fmt.Sprintf("/v1/export?prefix=key-&reverse=%t", reverse), "")
	switch {
	case status == 200 && whole:
		b.count("export", "whole")
		assert.Equal(b.t, besiegedKeys, bytes.Count(answer, []byte("\n")), "it looks whole")
	case status == 200 || status == 0:
		b.count("export", "cut off")
	default:
		b.refused("export", status, answer)
		return
	}
	for n, line := range bytes.SplitAfter(answer, []byte("\n")) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if reverse {
			n = besiegedKeys - 1 - n
		}
		var entry struct{ Key, Value string }
		assert.NoError(b.t, json.Unmarshal(line, &entry))
		assert.True(b.t, entry.Key == besiegedKey(n) && entry.Value == besiegedValue(n), "%s as entry %d", entry.Key, n)
	}
}

// backup is whole, or cut off so that the client sees it, or refused.
func (b *besieged) backup() {
	status, answer, whole := b.request("GET", "/v1/backup", "")
	restored := engine.Options{Dir: filepath.Join(b.t.TempDir(), "restored"), LogFileBytes: 64 << 10, Sync: engine.SyncNone}
	switch {
	case status == 200 && whole:
		b.count("backup", "whole")
		assert.NoError(b.t, engine.Restore(restored, bytes.NewReader(answer)))
	case status == 200 || status == 0:
		b.count("backup", "cut off")
		assert.ErrorIs(b.t, engine.Restore(restored, bytes.NewReader(answer)), engine.ErrNotBackup)
	default:
		b.refused("backup", status, answer)
	}
}

// put writes what the cut does not touch: to a log of its own it goes on.
func (b *besieged) put(i int) {
	status, answer, _ := b.request("PUT", fmt.Sprintf("/v1/kv/new-%d", i), `{"value":"text","encoding":"text"}`)
	b.count("put", fmt.Sprint(status))
	assert.Equal(b.t, 200, status, "%s", answer)
}

func (b *besieged) checkpoint() {
	if b.cut.Load() < 2 { // it would replace what is to be cut
		return
	}
	if status, answer, _ := b.request("POST", "/v1/checkpoint", ""); status != 200 {
		b.refused("checkpoint", status, answer)
	}
}

// load runs all clients, a few turns before the files are cut and n times that after.
func (b *besieged) load(seed uint64, cut func()) {
	var clients, ready sync.WaitGroup
	work := func(turns int, turn func(rng *rand.Rand, i int)) {
		ready.Add(1)
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(turns)))
			isReady := sync.OnceFunc(ready.Done)
			for i := 0; turns > 0; i++ {
				if b.cut.Load() == 2 {
					turns--
				}
				turn(rng, i)
				isReady()
			}
		})
	}
	for n := range 3 {
		work(150+n, func(rng *rand.Rand, _ int) { b.get(rng) })
	}
	work(4, func(_ *rand.Rand, i int) { b.export(i%2 == 1) })
	work(3, func(*rand.Rand, int) { b.backup() })
	work(2, func(*rand.Rand, int) { b.checkpoint() })
	work(20, func(_ *rand.Rand, i int) { b.put(i) })
	ready.Wait()
	b.cut.Store(1)
	cut()
	b.cut.Store(2)
	done := make(chan struct{})
	go func() { defer close(done); clients.Wait() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		b.t.Fatal("a client is still waiting")
	}
}

// Mapped files are cut while clients read over HTTP: who asks for what is lost gets 500, or a stream that ends without its end; all else is
// answered as ever, health is 503, and the server and the store stop in order.
func TestFilesCutUnderClients(t *testing.T) {
	rounds := enginetest.Times(6, 150)
	seed := enginetest.Seed(t, 1)
	idle := runtime.NumGoroutine()
	counts := map[string]int{}
	for round := range rounds {
		victim := []string{"checkpoint.", "logfile."}[round%2]
		t.Run(fmt.Sprintf("%d/%s", round, victim), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(round)))
			b := &besieged{t: t, counts: map[string]int{}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
			b.opts = engine.Options{Dir: filepath.Join(t.TempDir(), "data"), Create: true, LogFileBytes: 2 << 20,
				DisableBackgroundCheckpoint: true, Sync: engine.SyncNone}
			db, err := engine.Open(b.opts)
			require.NoError(t, err)
			defer db.Close()
			var batch engine.Batch
			for i := range besiegedKeys {
				batch.Set([]byte(besiegedKey(i)), []byte(besiegedValue(i)))
			}
			_, err = db.Apply(t.Context(), &batch)
			require.NoError(t, err)
			if victim == "checkpoint." {
				require.NoError(t, db.Checkpoint(t.Context()))
			}
			b.server = start(t, db, kvhttp.Options{})
			b.load(seed+uint64(round), func() {
				paths, err := filepath.Glob(filepath.Join(b.opts.Dir, victim+"[0-9]*"))
				assert.NoError(t, err)
				for _, path := range paths {
					info, err := os.Stat(path)
					assert.NoError(t, err)
					assert.NoError(t, os.Truncate(path, 4096+rng.Int64N(info.Size()/3)))
				}
			})
			status, answer, _ := b.request("GET", "/v1/health", "")
			require.Equal(t, 503, status)
			require.Contains(t, string(answer), `{"ok":false,"reason":"`)
			require.Contains(t, string(answer), victim)
			require.NoError(t, db.Stats().Failure)
			b.client.CloseIdleConnections()
			require.NoError(t, b.server.Shutdown(t.Context()))
			require.NoError(t, db.Close())
			for what, n := range b.counts {
				counts[what] += n
			}
		})
	}
	for started := time.Now(); runtime.NumGoroutine() > idle; time.Sleep(time.Millisecond) {
		require.Less(t, time.Since(started), time.Minute, "goroutines are left")
	}
	t.Logf("%d rounds: %v", rounds, counts)
	require.Positive(t, counts["get: 500"])
	require.Positive(t, counts["get: whole"])
	require.Positive(t, counts["export: cut off"]+counts["export: 500"])
	require.Positive(t, counts["backup: cut off"]+counts["backup: 500"])
}
