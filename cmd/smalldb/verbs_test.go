package main_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGet(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			for _, e := range entries {
				assert.Equal(t, string(e.Value), r.must(join("get", place, string(e.Key))...))
				key := base64.StdEncoding.EncodeToString(e.Key)
				assert.Equal(t, string(e.Value), r.must(join("get", place, key, "-key-encoding", "base64")...))
			}
			got := r.fails(3, "absent", join("get", place, "absent")...)
			assert.Empty(t, got.stdout)
			r.fails(3, "absent", join("get", place, "plain/absent")...)
		})
	}
}

func TestGetJSON(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			line := parseJSON(t, r.must(join("get", place, "soon", "-json")...))[0]
			version := line["version"]
			delete(line, "version")
			assert.Equal(t, map[string]any{"key": "soon", "value": "gone one day", "encoding": "utf-8",
				"expires_at": "2099-01-02T03:04:05.000000006Z"}, line)
			if name == "directory" {
				assert.Regexp(t, `^\d+\.9$`, version)
			} else {
				assert.Nil(t, version)
			}
			line = parseJSON(t, r.must(join("get", place, "\xff\xfe", "-json")...))[0]
			assert.Equal(t, "base64", line["key_encoding"])
			assert.Equal(t, "//4=", line["key"])

			failed := r.run(join("get", place, "absent", "-json")...)
			assert.Equal(t, 3, failed.exit)
			assert.EqualValues(t, 3, parseJSON(t, failed.stderr)[0]["code"])
			assert.Empty(t, failed.stdout)
		})
	}
}

// TestGetOnATerminal: a newline follows there, and nowhere else.
func TestGetOnATerminal(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := filled(t)
	r.tty = func(any) bool { return true }
	assert.Equal(t, "a value\n", r.must("get", "-dir", dir, "plain"))
	assert.Equal(t, "\n", r.must("get", "-dir", dir, "empty"))
	r.fails(2, "binary", "backup", "-dir", dir)
}

func TestPut(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("from\x00file\n"), 0o600))
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t).with("from\xffstdin")
			for key, row := range map[string]struct {
				args []string
				want string
			}{
				"text":           {[]string{"text", "some text"}, "some text"},
				"replace":        {[]string{"plain", "new"}, "new"},
				"nothing":        {[]string{"nothing", ""}, ""},
				"file":           {[]string{"file", "@" + file}, "from\x00file\n"},
				"literal at":     {[]string{"at", "@" + file, "-literal"}, "@" + file},
				"literal dash":   {[]string{"dash", "-", "-literal"}, "-"},
				"stdin":          {[]string{"stdin", "-"}, "from\xffstdin"},
				"dash in front":  {[]string{"--", "-key", "-value"}, "-value"},
				"path":           {[]string{"a/../b", "x"}, "x"},
				"with a ttl":     {[]string{"ttl", "y", "-ttl", "1h"}, "y"},
				"with a time":    {[]string{"time", "z", "-expires-at", "2097-01-01T00:00:00Z"}, "z"},
				"key in base64":  {[]string{"/w==", "k", "-key-encoding=base64"}, "k"},
				"not UTF-8":      {[]string{"\xfe", "\xfe\xff"}, "\xfe\xff"},
				"not UTF-8, ttl": {[]string{"\xfd", "\xfe\xff", "-ttl", "1h"}, "\xfe\xff"},
			} {
				assert.Empty(t, r.with("from\xffstdin").must(join("put", place, row.args...)...), key)
				name := row.args[0]
				if name == "--" {
					name = row.args[1]
				} else if name == "/w==" {
					name = "\xff"
				}
				assert.Equal(t, row.want, r.must(join("get", place, "--", name)...), key)
			}
			assert.Equal(t, true, parseJSON(t, r.must(join("put", place, "k", "v", "-json")...))[0]["ok"])

			line := parseJSON(t, r.must(join("get", place, "time", "-json")...))[0]
			assert.Equal(t, "2097-01-01T00:00:00Z", line["expires_at"])
			line = parseJSON(t, r.must(join("get", place, "ttl", "-json")...))[0]
			deadline, err := time.Parse(time.RFC3339Nano, line["expires_at"].(string))
			require.NoError(t, err)
			assert.WithinRange(t, deadline, time.Now().Add(30*time.Minute), time.Now().Add(time.Hour))

			r.must(join("put", place, "soon", "for ever")...)
			assert.Nil(t, parseJSON(t, r.must(join("get", place, "soon", "-json")...))[0]["expires_at"])
			r.must(join("put", place, "past", "v", "-expires-at", "2001-01-01T00:00:00Z")...)
			r.fails(3, "past", join("get", place, "past")...)

			r.fails(1, "no such file", join("put", place, "k", "@"+file+".none")...)
			r.fails(2, "out of range", join("put", place, "k", "v", "-expires-at", "1901-01-01T00:00:00Z")...)
			assert.Equal(t, "v", r.must(join("get", place, "k")...))
		})
	}
}

// TestManyPuts: a directory that is written by one command after the other stays small, because checkpoints come now and then.
func TestManyPuts(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	r.must("put", "-dir", dir, "-create", "k0", "v")
	for i := range 66 {
		r.must("put", "-dir", dir, fmt.Sprintf("k%d", i), "v")
	}
	assert.EqualValues(t, 2, min(2, parseJSON(t, r.must("check", "-json", dir))[0]["generation"].(float64)), "there was a checkpoint")
	logs, err := filepath.Glob(filepath.Join(dir, "logfile.*"))
	require.NoError(t, err)
	for _, log := range logs {
		info, err := os.Stat(log)
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(1<<20), log)
	}
	assert.Len(t, entriesOf(t, dir), 66)
}

func TestConditions(t *testing.T) {
	t.Parallel()
	r := newRunner(t)
	dir := newDir(t)
	version := parseJSON(t, r.must("put", "-dir", dir, "-create", "k", "one", "-json"))[0]["version"].(string)
	for _, row := range []struct {
		exit int
		args []string
	}{
		{4, []string{"put", "k", "two", "-if-absent"}},
		{4, []string{"put", "other", "two", "-if-present"}},
		{4, []string{"put", "k", "two", "-if-value", ""}},
		{4, []string{"put", "k", "two", "-if-value", "on"}},
		{4, []string{"put", "k", "two", "-if-version", "1.99"}},
		{4, []string{"put", "k", "two", "-if-version", version, "-if-value", "no"}},
		{4, []string{"del", "k", "-if-value", "two"}},
		{4, []string{"del", "k", "-if-version", "9.1"}},
		{4, []string{"del", "other", "-if-present"}},
		{0, []string{"put", "k", "two", "-if-version", version, "-if-value", "one", "-if-present"}},
		{4, []string{"put", "k", "three", "-if-version", version}},
		{0, []string{"put", "other", "", "-if-absent"}},
		{0, []string{"put", "other", "x", "-if-value", ""}},
		{0, []string{"del", "k", "-if-value", "two"}},
		{0, []string{"del", "k"}},
		{0, []string{"put", "k", "again", "-if-absent", "-ttl", "1h"}},
	} {
		args := append(row.args, "-dir", dir)
		if row.exit == 0 {
			r.must(args...)
		} else {
			r.fails(row.exit, "condition", args...)
		}
	}
	assert.Equal(t, "k\tagain\nother\tx\n", r.must("scan", "-dir", dir))

	got := r.run("put", "-dir", dir, "k", "v", "-if-absent", "-json")
	assert.Equal(t, 4, got.exit)
	assert.EqualValues(t, 4, parseJSON(t, got.stderr)[0]["code"])
	addr := serve(t, dir)
	r.fails(2, "-dir only", "del", "-addr", addr, "k", "-if-value", "again")
	assert.Equal(t, "again", r.must("get", "-addr", addr, "k"), "nothing was written")
}

func TestDel(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			for _, e := range entries {
				assert.Empty(t, r.must(join("del", place, string(e.Key))...))
				r.fails(3, "not set", join("get", place, string(e.Key))...)
			}
			assert.Empty(t, r.must(join("del", place, "absent")...))
			assert.Equal(t, true, parseJSON(t, r.must(join("del", place, "absent", "-json")...))[0]["ok"])
			assert.Empty(t, r.must(join("scan", place)...))
		})
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			want := []string{`"\x00"` + "\tnul\n", "%2F\tpercent\n", ".\tdot\n", "..\tdots\n", "../a//b/\tpath\n", "empty\t\n",
				`"line\n\"\t\\"` + "\t" + `"a\r\n\u2028b\x00"` + "\n", "plain\ta value\n", "soon\tgone one day\n",
				"é ü+&?#\t<é>\n", `"\xff\xfe"` + "\t" + `"\x00\xff\n"` + "\n"}
			assert.Equal(t, strings.Join(want, ""), r.must(join("scan", place)...))
			for _, row := range []struct {
				args []string
				want []string
			}{
				{[]string{"-prefix", "."}, want[2:5]},
				{[]string{"-prefix", "../"}, want[4:5]},
				{[]string{"-prefix", "none"}, nil},
				{[]string{"-prefix", "\xff"}, want[10:]},
				{[]string{"-prefix", "/w==", "-key-encoding", "base64"}, want[10:]},
				{[]string{"-start", "empty", "-end", "soon"}, want[5:8]},
				{[]string{"-start", "%2F"}, want[1:]},
				{[]string{"-end", "."}, want[:2]},
				{[]string{"-start", "soon", "-end", "empty"}, nil},
				{[]string{"-limit", "2"}, want[:2]},
				{[]string{"-limit", "2", "-start", "plain"}, want[7:9]},
				{[]string{"-reverse", "-limit", "1"}, want[10:]},
				{[]string{"-reverse", "-end", "%2F"}, want[:1]},
				{[]string{"-reverse", "-prefix", ".", "-limit", "1"}, want[4:5]},
				{[]string{"-limit", "1000"}, want},
			} {
				assert.Equal(t, strings.Join(row.want, ""), r.must(join("scan", place, row.args...)...), "%q", row.args)
			}
			assert.Equal(t, "plain\nsoon\n", r.must(join("scan", place, "-keys", "-start", "plain", "-limit", "2")...))
			assert.Equal(t, "soon\nplain\n", r.must(join("scan", place, "-keys", "-start", "plain", "-end", "t", "-reverse")...))
		})
	}
}

func TestScanJSON(t *testing.T) {
	t.Parallel()
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			all := r.must(join("scan", place, "-json")...)
			assert.Len(t, parseJSON(t, all), len(entries))
			assert.Equal(t, r.must(join("export", place)...), all)
			backward := parseJSON(t, r.must(join("scan", place, "-json", "-reverse")...))
			assert.Equal(t, "2098-01-01T00:00:00Z", backward[0]["expires_at"])
			keys := parseJSON(t, r.must(join("scan", place, "-json", "-keys")...))
			assert.Equal(t, map[string]any{"key": "//4=", "key_encoding": "base64"}, keys[len(keys)-1])
			assert.Equal(t, map[string]any{"key": "é ü+&?#"}, keys[len(keys)-2])
		})
	}
}

// TestEnvironment names the store where no flag does.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	addr := serve(t, filled(t))
	r := newRunner(t)
	r.env = map[string]string{"SMALLDB_DIR": dir}
	assert.Equal(t, "a value", r.must("get", "plain"))
	assert.Equal(t, "a value", r.must("get", "plain", "-addr", addr), "a flag counts more")
	r.must("check")
	r.env["SMALLDB_ADDR"] = addr
	r.fails(2, "SMALLDB_ADDR", "get", "plain")
	assert.Equal(t, "a value", r.must("get", "plain", "-dir", dir))
	delete(r.env, "SMALLDB_DIR")
	assert.Equal(t, "a value", r.must("get", "plain"))
	r.fails(2, "directory", "check")
}
