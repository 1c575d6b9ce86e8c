package reference_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/reference"
	"github.com/tongpengdl/small-db/format"
)

func TestReadsCheckpointAndLog(t *testing.T) {
	d, err := open(t, files{
		"version": []byte("7\n"),
		"checkpoint.7": checkpoint(1, 7, 4, entry("b", "old"), entry("\x00\xff", "binary"), entry("gone", "x"),
			entry("empty", "")),
		"logfile.7":     join(set("b", "new"), del("gone"), set("a", "1"), set("c", "2"), del("c"), del("never"), set("e", "")),
		"logfile.6":     set("of another generation", "1"),
		"checkpoint.70": []byte("of another generation"),
		"unrelated":     nil,
	}, reference.Options{})
	require.NoError(t, err)
	assert.Equal(t, []pair{{"\x00\xff", "binary"}, {"a", "1"}, {"b", "new"}, {"e", ""}, {"empty", ""}}, state(t, d))
	assert.EqualValues(t, 7, d.Generation())
	assert.EqualValues(t, 7, d.Operations())
	require.Len(t, d.Dropped(), 1)
	assert.Equal(t, "checkpoint.70", d.Dropped()[0].File)
	assert.EqualValues(t, len("of another generation"), d.Dropped()[0].Bytes)
	require.ErrorContains(t, d.Dropped()[0].Err, "newer than generation 7")
}

// TestAgainstAMap reads random histories, large enough to cross the window.
func TestAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		want := map[string]string{}
		key := func() string { return "key" + strconv.Itoa(rng.IntN(300)) }
		var entries, log []byte
		for range rng.IntN(200) {
			k, v := key(), strings.Repeat("v", rng.IntN(4000))
			if _, twice := want[k]; !twice {
				want[k], entries = v, append(entries, entry(k, v)...)
			}
		}
		count := len(want)
		for range rng.IntN(2000) {
			k, v := key(), strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(2000))
			if rng.IntN(3) == 0 {
				delete(want, k)
				log = append(log, del(k)...)
			} else {
				want[k], log = v, append(log, set(k, v)...)
			}
		}
		d, err := open(t, files{"version": []byte("1\n"), "checkpoint.1": checkpoint(1, 1, count, entries), "logfile.1": log}, reference.Options{})
		require.NoError(t, err)
		pairs := state(t, d)
		require.Len(t, pairs, len(want))
		require.True(t, slices.IsSortedFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) }))
		for _, p := range pairs {
			require.Equal(t, want[p.key], p.value)
		}
	}
}

func TestWhichGenerationCounts(t *testing.T) {
	first, second := checkpoint(1, 1, 1, entry("k", "first")), checkpoint(1, 2, 1, entry("k", "second"))
	both := files{"checkpoint.1": first, "logfile.1": nil, "checkpoint.2": second, "logfile.2": nil}
	for _, row := range []struct {
		name    string
		files   files  // beside those of both generations
		without string // one of them
		want    string // "" if Open fails
		wantErr error
		dropped string // the file that was
	}{
		{name: "version", files: files{"version": []byte("1\n")}, want: "first"},
		{name: "version without a newline", files: files{"version": []byte("1")}, want: "first"},
		{name: "newVersion", files: files{"version": []byte("1\n"), "newVersion": []byte("2\n")}, want: "second"},
		{name: "newversion", files: files{"version": []byte("1\n"), "newversion": []byte("2\n")}, want: "second"},
		{name: "newVersion and no version", files: files{"newVersion": []byte("2\n")}, want: "second"},
		{name: "newVersion and a damaged version", files: files{"version": []byte("?"), "newVersion": []byte("2\n")}, want: "second"},
		{name: "both spellings agree", files: files{"newVersion": []byte("2\n"), "newversion": []byte("2\n")}, want: "second"},
		{name: "both spellings differ", files: files{"newVersion": []byte("2\n"), "newversion": []byte("1\n")}, wantErr: format.ErrCorrupt},
		{name: "empty newVersion", files: files{"version": []byte("1\n"), "newVersion": nil}, want: "first", dropped: "newVersion"},
		{name: "newVersion is no number", files: files{"version": []byte("1\n"), "newversion": []byte("two\n")}, want: "first", dropped: "newversion"},
		{name: "newVersion without its checkpoint", files: files{"version": []byte("1\n"), "newVersion": []byte("2\n")},
			without: "checkpoint.2", want: "first", dropped: "newVersion"},
		{name: "newVersion without its log", files: files{"version": []byte("1\n"), "newVersion": []byte("2\n")},
			without: "logfile.2", want: "first", dropped: "newVersion"},
		{name: "its temporary file", files: files{"version": []byte("1\n"), "newVersion.tmp": []byte("2\n")}, want: "first"},
		{name: "newVersion without its log and no version", files: files{"newVersion": []byte("2\n")},
			without: "logfile.2", wantErr: reference.ErrNotReference},
		{name: "no version", files: files{}, wantErr: reference.ErrNotReference},
		{name: "empty version", files: files{"version": nil}, wantErr: format.ErrCorrupt},
		{name: "negative", files: files{"version": []byte("-1\n")}, wantErr: format.ErrCorrupt},
		{name: "2^64", files: files{"version": []byte("18446744073709551616\n")}, wantErr: format.ErrCorrupt},
		{name: "two numbers", files: files{"version": []byte("1\n2\n")}, wantErr: format.ErrCorrupt},
		{name: "long", files: files{"version": []byte(strings.Repeat("1", 10000))}, wantErr: format.ErrCorrupt},
		{name: "without its checkpoint", files: files{"version": []byte("2\n")}, without: "checkpoint.2", wantErr: format.ErrCorrupt},
		{name: "without its log", files: files{"version": []byte("2\n")}, without: "logfile.2", wantErr: format.ErrCorrupt},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, content := range both {
				if name != row.without {
					row.files[name] = content
				}
			}
			d, err := open(t, row.files, reference.Options{})
			if row.wantErr != nil {
				require.ErrorIs(t, err, row.wantErr)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []pair{{"k", row.want}}, state(t, d))
			newer := 0
			for _, name := range []string{"checkpoint.2", "logfile.2"} {
				if name != row.without && row.want == "first" {
					newer++
				}
			}
			if row.dropped == "" {
				assert.Len(t, d.Dropped(), newer)
				return
			}
			require.Len(t, d.Dropped(), 1+newer)
			assert.Equal(t, row.dropped, d.Dropped()[0].File)
			assert.EqualValues(t, len(row.files[row.dropped]), d.Dropped()[0].Bytes)
		})
	}
}

// The first generation is 0 and begins with nothing: not even a log, if a crash came early.
func TestFirstGeneration(t *testing.T) {
	d, err := open(t, files{"version": []byte("0\n"), "logfile.0": set("k", "v")}, reference.Options{})
	require.NoError(t, err)
	assert.Equal(t, []pair{{"k", "v"}}, state(t, d))
	d, err = open(t, files{"version": []byte("0\n")}, reference.Options{})
	require.NoError(t, err)
	assert.Empty(t, state(t, d))

	// A switch to generation 1 that was cut off leaves its files.
	d, err = open(t, files{"version": []byte("0\n"), "logfile.0": set("k", "v"), "checkpoint.1": nil, "logfile.1": nil}, reference.Options{})
	require.NoError(t, err)
	assert.Equal(t, []pair{{"k", "v"}}, state(t, d))
	assert.Len(t, d.Dropped(), 2)
}

// A version file that says 0 where there is a later generation is not taken for an empty database.
func TestVersionThatFellBack(t *testing.T) {
	whole := checkpoint(1, 5, 1, entry("k", "v"))
	for name, f := range map[string]files{
		"no log":           {"checkpoint.5": whole, "logfile.5": nil},
		"a new log":        {"checkpoint.5": whole, "logfile.5": nil, "logfile.0": set("new", "v")},
		"the log alone":    {"logfile.5": nil},
		"no log, switched": {"checkpoint.1": checkpoint(1, 1, 0), "logfile.1": nil},
	} {
		f["version"] = []byte("0\n")
		_, err := open(t, f, reference.Options{AcceptDamage: true})
		require.ErrorIs(t, err, format.ErrCorrupt, name)
		require.ErrorContains(t, err, "and a newline into version", name)
	}
}

func TestOwnDirectoryIsRefused(t *testing.T) {
	ours := make([]byte, format.VersionFileLen)
	(&format.VersionFile{Generation: 1, Epoch: 1}).Encode(ours)
	damaged := slices.Clone(ours)
	damaged[100] ^= 1
	newer := slices.Clone(ours)
	newer[8]++
	for name, content := range map[string][]byte{"whole": ours, "damaged": damaged, "newer": newer, "cut": ours[:50], "longer": join(ours, ours, ours)} {
		for _, at := range []string{"version", "newVersion"} {
			_, err := open(t, files{at: content, "checkpoint.1": nil, "logfile.1": nil}, reference.Options{})
			require.ErrorIs(t, err, reference.ErrNotReference, "%s as %s", name, at)
			require.ErrorContains(t, err, at+": ")
		}
	}
}

func TestFileSystemErrors(t *testing.T) {
	_, err := reference.Open(context.Background(), filepath.Join(t.TempDir(), "missing"), reference.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, name := range []string{"version", "newVersion", "checkpoint.1", "logfile.1"} {
		f := files{"version": []byte("1\n"), "checkpoint.1": checkpoint(1, 1, 0), "logfile.1": nil}
		delete(f, name)
		dir := f.write(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		_, err = reference.Open(context.Background(), dir, reference.Options{})
		require.ErrorContains(t, err, name+" is not a regular file")
	}
}

func TestLimits(t *testing.T) {
	longest := strings.Repeat("k", format.MaxKeyLen)
	large := strings.Repeat("v", format.MaxValueLen+1)
	for _, row := range []struct {
		name string
		log  []byte
		want string // "" if it is within the limits
	}{
		{"longest key", set(longest, "v"), ""},
		{"longest value", set("k", large[1:]), ""},
		{"key", set(longest+"k", "v"), `key "` + longest[:64] + `"... has 65536 bytes (allowed are 1 to 65535): delete`},
		{"two keys", join(set(longest+"b", "v"), set("", "v")), `key "" has 0 bytes (allowed are 1 to 65535), and there are 1 more`},
		{"value", set("the key", large), `key "the key" has a value of 67108865 bytes (allowed are 67108864): delete`},
		{"replaced since", join(set("k", large), set("k", "v"), set("", "v"), del("")), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			d, err := reference.OpenFS(context.Background(), fstest.MapFS{ // in memory: it is large
				"version": &fstest.MapFile{Data: []byte("0\n")}, "logfile.0": &fstest.MapFile{Data: row.log},
			}, reference.Options{})
			if row.want == "" {
				require.NoError(t, err)
				require.Equal(t, 1, d.Keys())
				return
			}
			var limit *reference.LimitError
			require.ErrorAs(t, err, &limit)
			require.ErrorContains(t, err, row.want)
			require.Nil(t, d)
		})
	}
}

func TestProgressAndContext(t *testing.T) {
	var log, entries []byte
	for i := range 5000 {
		entries = append(entries, entry("c"+strconv.Itoa(i), "v")...)
		log = append(log, set(strconv.Itoa(i), "v")...)
	}
	f := files{"version": []byte("1\n"), "checkpoint.1": checkpoint(1, 1, 5000, entries), "logfile.1": log}
	dir := f.write(t)
	total := int64(len(log) + len(f["checkpoint.1"]))
	ctx, cancel := context.WithCancel(context.Background())
	var seen []int64
	opts := reference.Options{Progress: func(done, all int64) {
		seen = append(seen, done)
		assert.Equal(t, total, all)
	}}
	d, err := reference.Open(ctx, dir, opts)
	require.NoError(t, err)
	assert.True(t, slices.IsSorted(seen))
	assert.Greater(t, len(seen), 8)
	assert.Equal(t, total, seen[len(seen)-1])

	failure := errors.New("enough")
	calls := 0
	require.ErrorIs(t, d.Each(ctx, func(_, _ []byte) error { calls++; return failure }), failure)
	require.Equal(t, 1, calls)
	cancel()
	require.ErrorIs(t, d.Each(ctx, func(_, _ []byte) error { calls++; return nil }), context.Canceled)
	require.Equal(t, 1, calls)
	_, err = reference.Open(ctx, dir, opts)
	require.ErrorIs(t, err, context.Canceled)
}

// A directory that is written to meanwhile has no state to speak of.
func TestChangeIsNoticed(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"append": func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "logfile.0"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(set("late", "v"))
			return errors.Join(err, f.Close())
		},
		"truncate": func(dir string) error { return os.Truncate(filepath.Join(dir, "logfile.0"), 10) },
		"switch": func(dir string) error {
			return os.Rename(filepath.Join(dir, "version"), filepath.Join(dir, "newVersion"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log []byte
			for range 40000 {
				log = append(log, set("k", "value")...)
			}
			dir := files{"version": []byte("0\n"), "logfile.0": log}.write(t)
			changed := false
			_, err := reference.Open(context.Background(), dir, reference.Options{Progress: func(_, _ int64) {
				if !changed {
					changed = true
					assert.NoError(t, change(dir))
				}
			}})
			require.ErrorIs(t, err, reference.ErrChanged)
		})
	}
}
