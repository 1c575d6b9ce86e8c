package format_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

var update = flag.Bool("update", false, "rewrite the dumps in FORMAT.md and the files in testdata/v1")

const specification = "FORMAT.md"

// goldenDir holds the sample as version 1 of the format wrote it.
var goldenDir = filepath.Join("testdata", "v1")

func samples() map[string]*image {
	return map[string]*image{"logfile.2": sampleLog(), "checkpoint.2": sampleCheckpoint(), "version": sampleVersion()}
}

func TestSampleFollowsLayouts(t *testing.T) {
	for name, m := range samples() {
		at := 0
		for _, p := range m.parts {
			require.Equal(t, at, p.at, "%s: a part begins where the one before it ends", name)
			size := 0
			for _, f := range p.fields {
				size += f.size
			}
			require.LessOrEqual(t, at+size, len(m.bytes))
			require.NoError(t, checkFields(m.bytes[at:at+size], p.fields), "%s at %d: %s", name, at, p.title)
			at += size
		}
		require.Equal(t, len(m.bytes), at, "%s has a layout up to its end", name)
	}
}

func TestGoldenFiles(t *testing.T) {
	for name, m := range samples() {
		path := filepath.Join(goldenDir, name)
		if *update {
			require.NoError(t, os.MkdirAll(goldenDir, 0o755))
			require.NoError(t, os.WriteFile(path, m.bytes, 0o644))
		}
		golden, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, string(golden) == string(m.bytes), "the code writes another %s than version 1 did; see -update", name)
	}
}

func TestSpecificationDumps(t *testing.T) {
	page, err := os.ReadFile(specification)
	require.NoError(t, err)
	old := string(page)
	rewritten := old
	for name, m := range samples() {
		begin, end := fmt.Sprintf("<!-- begin %s -->\n```text\n", name), fmt.Sprintf("```\n<!-- end %s -->", name)
		before, rest, ok := strings.Cut(rewritten, begin)
		require.True(t, ok, "%s has no marker %q", specification, begin)
		_, after, ok := strings.Cut(rest, end)
		require.True(t, ok, "%s has no marker %q", specification, end)
		rewritten = before + begin + m.dump() + end + after
	}
	if *update {
		require.NoError(t, os.WriteFile(specification, []byte(rewritten), 0o644))
		return
	}
	assert.Equal(t, rewritten, old, "the dumps differ from what the code writes; see -update")
}

// specified says which layout a section of the specification is to describe. Where a size
// varies, its cells need not be numbers.
var specified = []struct {
	heading string
	varies  bool
	fields  func() []field
}{
	{"Version file", false, func() []field { return sampleVersion().parts[0].fields }},
	{"Block 0", false, func() []field { return sampleLog().titled("block 0") }},
	{"Block 1", false, func() []field { return sampleLog().titled("block 1") }},
	{"Frame header", false, func() []field { return sampleLog().titled("frame") }},
	{"Record", true, func() []field { return sampleLog().titled("a record: set elderberry") }},
	{"Trailer", false, func() []field { return sampleLog().titled("its payload") }},
	{"Header page", false, func() []field { return sampleCheckpoint().titled("header page") }},
	{"Checkpoint record", true, func() []field { return sampleCheckpoint().titled("a record: cherry") }},
	{"Bucket", false, func() []field { return merged("slots", sampleCheckpoint().titled("hash index")) }},
	{"Word block", false, func() []field { return merged("words", sampleCheckpoint().titled("ordered index")) }},
	{"Word block", false, func() []field { return merged("words", sampleCheckpoint().titled("deadlines")) }},
	{"Epoch", false, func() []field { return sampleCheckpoint().titled("epochs") }},
	{"Entry of the segment directory", false, func() []field { return sampleCheckpoint().titled("segment directory") }},
	{"Footer", false, func() []field { return sampleCheckpoint().titled("footer") }},
}

// titled are the fields of the first part whose title begins so.
func (m *image) titled(title string) []field {
	for _, p := range m.parts {
		if strings.HasPrefix(p.title, title) {
			return p.fields
		}
	}
	panic("the sample has no " + title)
}

// merged makes one field of all but the last.
func merged(name string, fields []field) []field {
	last := fields[len(fields)-1]
	return []field{{at: 0, size: last.at, name: name}, last}
}

func TestSpecificationTables(t *testing.T) {
	page, err := os.ReadFile(specification)
	require.NoError(t, err)
	for _, s := range specified {
		t.Run(s.heading, func(t *testing.T) {
			rows := table(string(page), "### "+s.heading+"\n")
			fields := s.fields()
			require.Len(t, rows, len(fields), "a row for each field")
			for i, f := range fields {
				assert.Equal(t, f.name, rows[i][2])
				for j, want := range []int{f.at, f.size} {
					if got, err := strconv.Atoi(rows[i][j]); err == nil || !s.varies {
						assert.Equal(t, want, got, "%s: %q", f.name, rows[i][j])
					}
				}
			}
		})
	}
}

// table returns the cells of the first table after heading, without its two head lines.
func table(page, heading string) (rows [][]string) {
	_, section, _ := strings.Cut(page, heading)
	for line := range strings.Lines(section) {
		switch {
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|\n"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		case len(rows) > 0:
			return rows[2:]
		case strings.HasPrefix(line, "#"):
			return nil
		}
	}
	return nil
}

// TestSpecificationNumbers holds the tables of limits and kinds to the constants.
func TestSpecificationNumbers(t *testing.T) {
	page, err := os.ReadFile(specification)
	require.NoError(t, err)
	for _, c := range []struct {
		heading string
		numbers map[string]uint64
	}{
		{"Limits", map[string]uint64{
			"BlockSize": format.BlockSize, "MinFrameAlign": format.MinFrameAlign, "LogHeaderSize": format.LogHeaderSize,
			"SegmentSize": format.SegmentSize, "MaxKeyLen": format.MaxKeyLen, "MaxValueLen": format.MaxValueLen,
			"MaxGroupLen": format.MaxGroupLen, "MaxPayloadLen": format.MaxPayloadLen, "MaxRecordLen": format.MaxRecordLen,
			"MinRecordLen": format.MinRecordLen, "MinEntryLen": format.MinEntryLen, "MaxLogLen": format.MaxLogLen,
			"MaxCheckpointLen": format.MaxCheckpointLen, "MaxProbe": format.MaxProbe, "OrderedStride": format.OrderedStride,
		}},
		{"Kinds of frames", map[string]uint64{
			"operations": uint64(format.FrameOperations), "empty": uint64(format.FrameEmpty),
			"configuration": uint64(format.FrameConfiguration), "trailer": uint64(format.FrameTrailer),
		}},
		{"Kinds of records", map[string]uint64{"set": uint64(format.KindSet), "delete": uint64(format.KindDelete)}},
		{"Flags", map[string]uint64{"expiry": format.FlagExpiry}},
		{"Kinds of segments", map[string]uint64{
			"records": uint64(format.SegmentRecords), "buckets": uint64(format.SegmentBuckets),
			"ordered index": uint64(format.SegmentOrdered), "deadlines": uint64(format.SegmentDeadlines),
			"epochs": uint64(format.SegmentEpochs),
		}},
	} {
		got := map[string]uint64{}
		for _, row := range table(string(page), "### "+c.heading+"\n") {
			got[row[0]], err = strconv.ParseUint(strings.ReplaceAll(row[1], ",", ""), 10, 64)
			require.NoError(t, err, "%s: %s", c.heading, row[0])
		}
		assert.Equal(t, c.numbers, got, c.heading)
	}
}
