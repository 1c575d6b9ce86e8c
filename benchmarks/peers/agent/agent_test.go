package agent_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/benchmarks/peers/agent"
	"github.com/tongpengdl/small-db/benchmarks/peers/rival"
)

func TestMain(m *testing.M) {
	agent.ServeIfAsked()
	os.Exit(m.Run())
}

// start starts an agent that opens a rival.
func start(t *testing.T, r *rival.Rival, dir string) *agent.Agent {
	a, err := agent.Start(context.Background())
	require.NoError(t, err)
	a.Patience = time.Minute
	t.Cleanup(a.Kill)
	do(t, a, agent.Request{Do: agent.Open, Rival: r.Name, Dir: dir})
	return a
}

func do(t *testing.T, a *agent.Agent, r agent.Request) *agent.Reply {
	t.Helper()
	reply, err := a.Do(r)
	require.NoError(t, err)
	return reply
}

const (
	keys   = 400
	moment = 20 * time.Millisecond
)

// TestKill: what was acknowledged is there after a kill.
func TestKill(t *testing.T) {
	for _, r := range rival.All() {
		if err := r.Missing(); err != nil || !r.Durable {
			t.Logf("%s is not tested: durable %v, missing %v", r.Name, r.Durable, err)
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			dir := t.TempDir()
			a := start(t, r, dir)
			require.EqualValues(t, keys, do(t, a, agent.Request{Do: agent.Load, N: keys}).Ops)
			require.Positive(t, do(t, a, agent.Request{Do: agent.Set, N: keys, Workers: 4, For: moment, Seed: 1}).Ops)
			a.Kill()
			time.Sleep(100 * time.Millisecond) // for its server to end, if it has one
			a = start(t, r, dir)
			memory := do(t, a, agent.Request{Do: agent.Memory, N: keys}) // reads them all
			require.NotZero(t, memory.Collection)
			_, err := a.Close()
			require.NoError(t, err)
		})
	}
}

// TestWorks: every work does something, for every rival that can do it.
func TestWorks(t *testing.T) {
	for _, r := range rival.All() {
		if err := r.Missing(); err != nil || !r.Reads {
			t.Logf("%s is not tested: it reads %v, missing %v", r.Name, r.Reads, err)
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			a := start(t, r, t.TempDir())
			do(t, a, agent.Request{Do: agent.Load, N: keys})
			do(t, a, agent.Request{Do: agent.Compact})
			requests := []agent.Request{{Do: agent.Get}, {Do: agent.Get, Miss: true}, {Do: agent.Mix, Mix: "C"}, {Do: agent.Mix, Mix: "A"}, {Do: agent.Pace, Rate: 1000}}
			if r.Ordered {
				requests = append(requests, agent.Request{Do: agent.Scan, Length: 10}, agent.Request{Do: agent.Mix, Mix: "E"})
			}
			if r.Compacts {
				requests = append(requests, agent.Request{Do: agent.Pace, Rate: 1000, Compactions: true, MinCompactions: 1})
			}
			for _, request := range requests {
				request.N, request.Workers, request.For, request.Seed = keys, 3, moment, 7
				reply := do(t, a, request)
				require.Positive(t, reply.Ops, "%+v", request)
				require.Positive(t, reply.Took)
				h, err := agent.Histogram(reply)
				require.NoError(t, err)
				require.Positive(t, h.TotalCount())
				require.GreaterOrEqual(t, reply.Compactions, request.MinCompactions)
			}
			_, err := a.Close()
			require.NoError(t, err)
		})
	}
}

func TestFill(t *testing.T) {
	ours := rival.All()[0]
	dir := t.TempDir()
	a := start(t, ours, dir)
	do(t, a, agent.Request{Do: agent.Load, N: keys})
	reply := do(t, a, agent.Request{Do: agent.Fill, N: keys, For: moment, Seed: 1})
	require.Positive(t, reply.Ops)
	require.Positive(t, reply.Filled)
	require.Less(t, reply.Filled, 1.0)
	_, err := a.Close()
	require.NoError(t, err)
	again, err := agent.Start(context.Background())
	require.NoError(t, err)
	t.Cleanup(again.Kill)
	reply = do(t, again, agent.Request{Do: agent.Reopen, Rival: ours.Name, Dir: dir, N: keys, Times: 3})
	require.Len(t, reply.Times, 3)
}

// TestErrors: what goes wrong in an agent is told, and one that does not answer is killed.
func TestErrors(t *testing.T) {
	a := start(t, rival.All()[0], t.TempDir())
	_, err := a.Do(agent.Request{Do: agent.Get, N: keys, Workers: 1, For: moment})
	require.ErrorContains(t, err, "wrong answer") // the keys are not set
	_, err = a.Do(agent.Request{Do: "nothing"})
	require.ErrorContains(t, err, "nothing")
	_, err = a.Do(agent.Request{Do: agent.Open, Rival: "small-db"})
	require.ErrorContains(t, err, "open")
	a.Patience = time.Nanosecond
	_, err = a.Do(agent.Request{Do: agent.Set, N: keys, Workers: 1, For: time.Nanosecond, Seed: 1})
	for err == nil { // it was faster than the timer
		_, err = a.Do(agent.Request{Do: agent.Set, N: keys, Workers: 1, For: time.Nanosecond, Seed: 1})
	}
	require.ErrorContains(t, err, "set")
}
