package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	smalldb "github.com/tongpengdl/small-db/cmd/smalldb"
	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

func TestExitStatuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		exit int
	}{
		{nil, 0},
		{io.ErrUnexpectedEOF, 1},
		{context.Canceled, 1},
		{engine.ErrDiskFull, 1},
		{engine.ErrNoDatabase, 1},
		{smalldb.Usage(), 2},
		{smalldb.ErrNotFound, 3},
		{engine.ErrConditionFailed, 4},
		{engine.ErrCorrupt, 5},
		{&format.CorruptionError{File: "logfile.3", Err: io.EOF}, 5},
		{engine.ErrNotBackup, 5},
		{smalldb.ErrDamaged, 5},
		{engine.ErrLocked, 6},
		{engine.ErrPoisoned, 6},
		{fmt.Errorf("%w: %w", engine.ErrIndeterminate, engine.ErrPoisoned), 1},
		{&net.OpError{Op: "dial", Err: io.EOF}, 6},
		{&net.OpError{Op: "read", Err: io.EOF}, 1},
		{smalldb.ServerError(400), 1},
		{smalldb.ServerError(404), 1},
		{smalldb.ServerError(409), 4},
		{smalldb.ServerError(412), 4},
		{smalldb.ServerError(500), 1},
		{smalldb.ServerError(502), 6},
		{smalldb.ServerError(503), 6},
		{smalldb.ServerError(504), 1},
	} {
		assert.Equal(t, row.exit, smalldb.ExitOf(row.err), "%v", row.err)
		if row.err != nil {
			assert.Equal(t, row.exit, smalldb.ExitOf(errors.Join(fmt.Errorf("first %w", row.err), io.EOF)), "%v", row.err)
		}
	}
}

// TestUsage: what is wrong with a command is said in one line, nothing is printed, and no directory is made.
func TestUsage(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"no such verb":            {[]string{"frobnicate"}, `"frobnicate"`},
		"no key":                  {[]string{"get", "-dir", dir}, "takes KEY"},
		"no value":                {[]string{"put", "-dir", dir, "k"}, "1 missing"},
		"two keys":                {[]string{"get", "-dir", dir, "a", "b"}, `"b"`},
		"no store":                {[]string{"get", "k"}, "-dir"},
		"two stores":              {[]string{"get", "-dir", dir, "k", "-addr", "x:1"}, "two databases"},
		"unknown flag":            {[]string{"get", "-dir", dir, "k", "-nonsense"}, "-nonsense"},
		"flag without its value":  {[]string{"get", "k", "-dir"}, "-dir"},
		"flag of another verb":    {[]string{"get", "k", "-dir", dir, "-ttl", "1s"}, "-ttl"},
		"empty key":               {[]string{"get", "-dir", dir, ""}, "at least one byte"},
		"long key":                {[]string{"get", "-dir", dir, string(make([]byte, 65536))}, "65535"},
		"key that is not base64":  {[]string{"get", "-dir", dir, "-key-encoding", "base64", "%"}, "base64"},
		"no such key encoding":    {[]string{"get", "-dir", dir, "-key-encoding", "hex", "00"}, "hex"},
		"bad version":             {[]string{"put", "-dir", dir, "k", "v", "-if-version", "7"}, "EPOCH.SEQ"},
		"bad ttl":                 {[]string{"put", "-dir", dir, "k", "v", "-ttl", "soon"}, "-ttl"},
		"zero ttl":                {[]string{"put", "-dir", dir, "k", "v", "-ttl", "0s"}, "not positive"},
		"ttl without a unit":      {[]string{"put", "-dir", dir, "k", "v", "-ttl", "5"}, "as 5s"},
		"long ttl":                {[]string{"put", "-dir", dir, "k", "v", "-ttl", "2500000h"}, "out of range"},
		"late time":               {[]string{"put", "-dir", dir, "k", "v", "-expires-at", "2300-01-01T00:00:00Z"}, "out of range"},
		"early time":              {[]string{"put", "-dir", dir, "k", "v", "-expires-at", "1969-01-01T00:00:00Z"}, "out of range"},
		"absent and present":      {[]string{"put", "-dir", dir, "k", "v", "-if-absent", "-if-present"}, "-if-present"},
		"absent and a value":      {[]string{"put", "-dir", dir, "k", "v", "-if-absent", "-if-value", ""}, "-if-value"},
		"negative timeout":        {[]string{"get", "-addr", "127.0.0.1:1", "k", "-timeout", "-1s"}, "-timeout"},
		"no room for values":      {[]string{"import", "-dir", dir, "-create", "-max-value-bytes", "0"}, "-max-value-bytes 0"},
		"too much room":           {[]string{"migrate", "x", dir, "-max-value-bytes", "67108865"}, "67108864"},
		"empty file of import":    {[]string{"import", "-dir", dir, "-create", ""}, "empty"},
		"empty file of export":    {[]string{"export", "-addr", "127.0.0.1:1", ""}, "empty"},
		"empty file of backup":    {[]string{"backup", "-addr", "127.0.0.1:1", ""}, "empty"},
		"empty file of restore":   {[]string{"restore", "-dir", dir, ""}, "empty"},
		"empty file of a value":   {[]string{"put", "-dir", dir, "-create", "k", "@"}, "empty"},
		"empty directory":         {[]string{"check", ""}, "empty"},
		"empty OLD":               {[]string{"migrate", "", dir}, "empty"},
		"empty NEW":               {[]string{"migrate", dir, ""}, "empty"},
		"bad time":                {[]string{"put", "-dir", dir, "k", "v", "-expires-at", "tomorrow"}, "tomorrow"},
		"ttl and time":            {[]string{"put", "-dir", dir, "k", "v", "-ttl", "1s", "-expires-at", "2030-01-31T00:00:00Z"}, "-expires-at"},
		"create at a server":      {[]string{"put", "-addr", "127.0.0.1:1", "k", "v", "-create"}, "-create"},
		"condition at a server":   {[]string{"put", "-addr", "127.0.0.1:1", "k", "v", "-if-absent"}, "-dir only"},
		"bad address":             {[]string{"get", "-addr", "ftp://x", "k"}, "ftp://x"},
		"address without a host":  {[]string{"get", "-addr", "http://", "k"}, "-addr"},
		"prefix and start":        {[]string{"scan", "-dir", dir, "-prefix", "a", "-start", "b"}, "-prefix"},
		"negative limit":          {[]string{"scan", "-dir", dir, "-limit", "-1"}, "-1"},
		"argument of scan":        {[]string{"scan", "-dir", dir, "prefix"}, `"prefix"`},
		"restore without dir":     {[]string{"restore", "file"}, "-dir"},
		"restore without file":    {[]string{"restore", "-dir", dir}, "1 missing"},
		"check without directory": {[]string{"check"}, "directory"},
		"negative findings":       {[]string{"check", dir, "-max-findings", "-1"}, "-1"},
		"dump without directory":  {[]string{"dump"}, "directory"},
		"check of two":            {[]string{"check", "-dir", dir, "x"}, "two directories"},
		"migrate without new":     {[]string{"migrate", "x"}, "1 missing"},
		"help of no verb":         {[]string{"help", "frobnicate"}, "frobnicate"},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			assert.Empty(t, r.fails(2, row.want, row.args...).stdout)
			got := r.run(append([]string{row.args[0], "-json"}, row.args[1:]...)...)
			assert.Equal(t, 2, got.exit)
			assert.Empty(t, got.stdout)
			said := parseJSON(t, got.stderr)
			require.Len(t, said, 1)
			assert.Contains(t, said[0]["error"], row.want)
			assert.EqualValues(t, 2, said[0]["code"])
		})
	}
	assert.NoDirExists(t, dir)
}

func TestNoVerb(t *testing.T) {
	t.Parallel()
	got := newRunner(t).run()
	assert.Equal(t, 2, got.exit)
	assert.Contains(t, got.stderr, "Usage: smalldb VERB")
	assert.Empty(t, got.stdout)
}

// TestHelp: every verb has its own, and the flags are what it takes.
func TestHelp(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	overview := r.must("help")
	assert.Equal(t, overview, r.must("-h"))
	for _, line := range parseJSON(t, r.must("help", "-json")) {
		for _, v := range line["verbs"].([]any) {
			verb := v.(map[string]any)["verb"].(string)
			assert.Contains(t, overview, "\n  "+verb+" ")
			text := r.must(verb, "-h")
			assert.Contains(t, text, "Usage: smalldb "+verb+" ")
			assert.Contains(t, text, "\n  -json\n")
			assert.Equal(t, text, r.must("help", verb))
		}
	}
	for _, verb := range []string{"get", "put", "del", "scan", "import", "export", "backup", "restore", "check", "dump", "migrate", "version", "help"} {
		assert.Contains(t, overview, "\n  "+verb+" ")
	}
	assert.Contains(t, r.must("get", "-h"), "-key-encoding")
	assert.NotContains(t, r.must("get", "-h"), "-ttl")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	assert.Regexp(t, `^smalldb \S+.* go\S+.* format 1\n$`, r.must("version"))
	assert.Equal(t, r.must("version"), r.must("-version"))
	assert.EqualValues(t, 1, parseJSON(t, r.must("version", "-json"))[0]["format"])
}
