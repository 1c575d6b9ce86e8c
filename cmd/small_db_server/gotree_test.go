package main_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// longTests names the environment variable that makes tests longer when it is 1.
const longTests = "SMALLDB_TEST_LONG"

// TestGoTree is the main job on real data: every file of the Go toolchain's source tree, loaded through HTTP
// into the built server, which is killed while many requests wait for an answer, and again while a checkpoint is being
// written. Every acknowledged file must be there afterwards, byte for byte, and nothing that was never sent.
//
// With SMALLDB_TEST_LONG=1 it is killed 20 times, at random points.
func TestGoTree(t *testing.T) {
	j := newJob(t)
	s := startServer(t, "-dir", j.dir, "-create", "-checkpoint-updates", "1500")
	if os.Getenv(longTests) == "1" {
		s = j.killOften(s, 20)
	} else {
		s = j.killUntil(s, crash{after: len(j.files) / 3})
		s = j.killUntil(s, crash{after: len(j.files) / 3, inCheckpoint: true})
	}

	j.complete(s)
	j.verify(s)
	require.Equal(t, 0, s.end(t, syscall.SIGTERM), s.stderr)
	s = startServer(t, "-dir", j.dir)
	t.Logf("recovery: %s", s.field("recovery"))
	assert.Contains(t, s.field("recovery"), "after a clean close, replayed ")
	j.checkKeys(s)
	j.verify(s)
	require.Equal(t, 0, s.end(t, syscall.SIGTERM), s.stderr)
}

// file is one file of the tree, and what is known of it in the store.
type file struct {
	key    string // path below the tree's root, with slashes
	value  []byte
	asText bool   // sent as utf-8, otherwise as base64
	body   []byte // of the PUT; made beforehand, so that the server has more to do than the test
	state  fileState
}

type fileState int

const (
	absent  fileState = iota // not sent, or seen not to be there
	unknown                  // sent, without an answer: it may be there, or not
	present                  // acknowledged, or seen to be there
)

// job is the tree on its way into a database.
type job struct {
	t         *testing.T
	dir       string // of the database
	files     []*file
	strangers []string // keys that are never sent
}

// newJob reads the tree. It has empty files, too.
func newJob(t *testing.T) *job {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	root, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(goroot)), "src"))
	if err != nil {
		t.Skipf("the Go toolchain comes without its sources: %v", err)
	}
	j := &job{t: t, dir: newDir(t)}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		key, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return j.add(filepath.ToSlash(key), path, entry)
	}))
	j.describe(root)
	return j
}

// add makes a file a key, and the name of a directory a stranger.
func (j *job) add(key, path string, entry fs.DirEntry) error {
	switch {
	case entry.IsDir():
		j.strangers = append(j.strangers, key)
	case entry.Type().IsRegular():
		value, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		asText := len(j.files)%2 == 0 && utf8.Valid(value)
		body, err := encode(value, asText)
		if err != nil {
			return err
		}
		j.files = append(j.files, &file{key: key, value: value, asText: asText, body: body})
		if len(j.files)%10 == 0 {
			j.strangers = append(j.strangers, key+"\x00")
		}
	}
	return nil
}

func (j *job) describe(root string) {
	var bytes, empty, text int
	for _, f := range j.files {
		bytes += len(f.value)
		if len(f.value) == 0 {
			empty++
		}
		if f.asText {
			text++
		}
	}
	require.Greater(j.t, len(j.files), 1000, "%s is no Go source tree", root)
	require.NotZero(j.t, empty, "%s has no empty file", root)
	j.t.Logf("%s: %d files, %d of them empty, %d bytes; %d are sent as utf-8, %d as base64",
		root, len(j.files), empty, bytes, text, len(j.files)-text)
}

// those are the files in a state.
func (j *job) those(state fileState) []*file {
	return slices.DeleteFunc(slices.Clone(j.files), func(f *file) bool { return f.state != state })
}

// crash says when the server is to be killed, and what came of it.
type crash struct {
	after        int  // so many acknowledged files of this load
	inCheckpoint bool // otherwise, while many requests are unanswered

	unanswered int  // requests that the server had been sent in full when it was killed, and never answered
	unfinished bool // a checkpoint was being written
}

// minUnanswered is how many requests at least must be unanswered at a kill that is not in a checkpoint.
const minUnanswered = 8

func (c crash) succeeded() bool {
	if c.inCheckpoint {
		return c.unfinished
	}
	return c.unanswered >= minUnanswered
}

// killUntil kills s as c says. The answers, or the checkpoint, may get ahead of the kill. Then
// that was one more crash, and the next one comes a little later. It returns the server that runs after the last.
func (j *job) killUntil(s *server, c crash) *server {
	j.t.Helper()
	for range 5 {
		var result crash
		if result, s = j.kill(s, c); result.succeeded() {
			return s
		}
		c.after = max(1, len(j.those(absent))/10)
	}
	require.FailNow(j.t, "the kill came too late five times", "%+v", c)
	return nil
}

// killOften kills the server n times, at random points of the load.
func (j *job) killOften(s *server, n int) *server {
	seed := rand.Uint64()
	j.t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		after := max(1, 2*len(j.those(absent))/(n-i+2))
		s = j.killUntil(s, crash{after: 1 + random.IntN(after), inCheckpoint: i%2 == 1})
	}
	return s
}

// kill loads what is absent, kills s during that, restarts it, and verifies what it recovered.
func (j *job) kill(s *server, c crash) (crash, *server) {
	j.t.Helper()
	l := newLoad(j.t, s, j.those(absent))
	if c.inCheckpoint {
		l.runAndKillInCheckpoint(c.after, j.dir)
	} else {
		l.runAndKill(c.after)
	}
	require.True(j.t, l.killed, "the load ended before the kill")
	require.Equal(j.t, -1, s.wait(j.t))
	require.NotContains(j.t, s.stderr.String(), "level=WARN")
	c.unanswered = l.unanswered
	c.unfinished = len(j.unfinishedCheckpoints()) > 0
	j.t.Logf("killed after %v; %d requests unanswered, unfinished checkpoints: %v", l, c.unanswered, j.unfinishedCheckpoints())

	s = startServer(j.t, "-dir", j.dir)
	j.t.Logf("recovery: %s", s.field("recovery"))
	assert.Contains(j.t, s.field("recovery"), "after an unclean stop, replayed ")
	assert.Empty(j.t, j.unfinishedCheckpoints(), "opening leaves no garbage")
	j.checkBounds(s)
	j.verify(s)
	j.checkKeys(s)
	return c, s
}

// unfinishedCheckpoints are the checkpoints that a server is, or was, writing.
func (j *job) unfinishedCheckpoints() []string {
	names, err := filepath.Glob(filepath.Join(j.dir, "checkpoint.*.tmp"))
	require.NoError(j.t, err)
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// complete loads what is absent.
func (j *job) complete(s *server) {
	j.t.Helper()
	l := newLoad(j.t, s, j.those(absent))
	l.run()
	require.False(j.t, l.killed)
	require.Equal(j.t, len(l.files), l.acknowledged)
	require.Len(j.t, j.those(present), len(j.files))
	j.t.Logf("completed with %v", l)
}
