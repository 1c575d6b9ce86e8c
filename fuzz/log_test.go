package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
	"github.com/tongpengdl/small-db/logrecord"
)

const (
	// logAlign is the alignment of frames: the smallest, so that files are small.
	logAlign = format.MinFrameAlign
	logSize  = format.LogHeaderSize + 3*format.BlockSize
)

// logFile is a log that a script wrote.
type logFile struct {
	how    byte // the first byte of the script
	salt   uint64
	data   []byte
	groups [][]operation
	starts []int64 // of the frames
	end    int64   // offset just past the last of them, a trailer not counted
}

// Bits of the first byte of a script for a log.
const (
	logRecycled     = 1 << iota // the file was another log of this database before
	logSealed                   // it ends with a trailer
	logHasSuccessor             // the reader knows from the successor where it ends
	logResealed                 // all checksums of the damaged file are made right
)

var logStart = format.Position{Epoch: 2, Seq: 41, Index: 7, Time: 1000, Chain: 99}

// writeLog writes a log as the script says, as long as there is room.
func writeLog(script []byte) *logFile {
	s := &tape{script}
	l := &logFile{how: s.byte(), salt: 0xfeedface, data: make([]byte, logSize)}
	if l.how&logRecycled != 0 {
		former := logFile{salt: 0xdead, data: l.data}
		former.write(&tape{s.rest})
	}
	l.write(s)
	return l
}

// write writes the blocks at the start, all groups, and the trailer.
func (l *logFile) write(s *tape) {
	(&format.LogIdentity{Align: logAlign, UUID: format.UUID{1}, Generation: 3, Salt: l.salt, Size: logSize}).Encode(l.data[:format.BlockSize])
	(&format.Predecessor{Generation: 2, Salt: 8, End: 1 << 16, Commit: 40, Position: logStart}).Encode(l.data[format.BlockSize:], l.salt)
	framer := logrecord.NewFramer(l.salt, logAlign, format.LogHeaderSize, logStart)
	for !s.done() {
		group := l.group(s, framer)
		frame := framer.End()
		if framer.Offset()+int64(len(frame)) > logSize-logrecord.TrailerLen(logAlign) {
			break
		}
		copy(l.data[framer.Offset():], frame)
		l.groups, l.starts = append(l.groups, group), append(l.starts, framer.Offset())
		framer.Advance()
	}
	l.end = framer.Offset()
	if l.how&logSealed != 0 {
		copy(l.data[l.end:], framer.Trailer(format.Trailer{Generation: 4, Salt: 77}, logStart.Time))
	}
}

// group begins a frame and fills it with the next group of the script.
func (l *logFile) group(s *tape, framer *logrecord.Framer) (group []operation) {
	last := framer.Position()
	framer.Begin(last.Epoch+uint64(s.byte()%2), last.Seq, last.Time+int64(s.byte()))
	for ends := false; !ends && (len(group) == 0 || !s.done()); {
		var op operation
		op, ends = s.operation(l.data)
		framer.Add(&format.Record{Kind: op.kind, Key: []byte(op.key), Value: []byte(op.value), Expiry: op.expiry})
		group = append(group, op)
	}
	return group
}

// reseal makes all checksums of b right, which was this log before it was damaged, where they were.
func (l *logFile) reseal(b []byte) {
	resum(b[:format.BlockSize], 0, 0)
	resum(b[format.BlockSize:format.LogHeaderSize], l.salt, format.BlockSize)
	starts := l.starts
	if l.how&logSealed != 0 {
		starts = append(starts[:len(starts):len(starts)], l.end)
	}
	for _, start := range starts {
		at := uint64(start) + format.FrameHeaderLen
		to := at + uint64(binary.LittleEndian.Uint32(l.data[start+8:]))
		payload := at
		for at < to && start != l.end {
			n := uint64(binary.LittleEndian.Uint32(l.data[at:]))
			resum(b[at:at+n], l.salt, at)
			at += (n + format.RecordAlign - 1) &^ (format.RecordAlign - 1)
		}
		header := b[start:][:format.FrameHeaderLen]
		binary.LittleEndian.PutUint64(header[format.FrameHeaderLen-2*format.SumLen:], format.Sum(b[payload:to], l.salt, payload))
		resum(header, l.salt, uint64(start))
	}
}

// readLog reads a log as recovery does. end is where the successor says that it ends.
func readLog(t *testing.T, b []byte, end int64) (groups [][]operation, r *logrecord.Reader, err error) {
	id, err := format.DecodeLogIdentity(b)
	if err != nil {
		return nil, nil, err
	}
	if id.Size != int64(len(b)) {
		return nil, nil, format.ErrLength
	}
	predecessor, err := format.DecodePredecessor(b[format.BlockSize:], id.Salt)
	if err != nil {
		return nil, nil, err
	}
	r = logrecord.NewReader(bytes.NewReader(b), id, predecessor.Position, end)
	for {
		frame, err := r.Next()
		if err != nil {
			_, again := r.Next()
			require.Error(t, again, "after an error there is no frame")
			return groups, r, err
		}
		requireSameFrame(t, b, id.Salt, frame)
		if frame.Header.Kind != format.FrameOperations {
			continue
		}
		var group []operation
		for _, rec := range frame.Records {
			group = append(group, operation{rec.Kind, string(rec.Key), string(rec.Value), rec.Expiry})
		}
		groups = append(groups, group)
	}
}

// requireSameFrame holds that a frame that was read encodes to the bytes in b.
func requireSameFrame(t *testing.T, b []byte, salt uint64, frame *logrecord.Frame) {
	again := make([]byte, format.FrameHeaderLen, format.FrameHeaderLen+frame.Header.Length)
	frame.Header.Encode(again, salt, uint64(frame.Offset))
	for i := range frame.Records {
		rec := &frame.Records[i]
		require.EqualValues(t, frame.Offset+int64(len(again)), rec.Offset)
		again, _ = format.AppendRecord(again, &rec.Record, salt, uint64(rec.Offset))
	}
	switch frame.Header.Kind {
	case format.FrameTrailer:
		again = frame.Trailer.Append(again)
	case format.FrameConfiguration:
		return // the reader does not return what it holds
	}
	require.Equal(t, b[frame.Offset:][:len(again)], again)
	require.Len(t, again, format.FrameHeaderLen+int(frame.Header.Length))
}

// FuzzLog damages a log and reads it: what is read is a prefix of what was written, whatever the checksums say, for the chain cannot be
// made right; and no frame that is intact is left out as torn.
func FuzzLog(f *testing.F) {
	ops := join([]byte{0, 0}, written(asLast, "a", "1"), []byte{0, 0}, written(0, "b", "22"), written(asDelete|asLast, "a", ""),
		[]byte{1, 9}, written(asExpiry|asPattern|asLong|asLast, "c", "x"), []byte{0, 0}, written(asLast, "d", "4"))
	frame := func(n int) int { return format.LogHeaderSize + n*sector }
	// A value with the frames so far, one before it that is lost, and one after it that is lost.
	hidden := join([]byte{0, 0}, written(asLast, "a", "1"), []byte{0, 0}, []byte{asStored | asLong | asLast, 0, 'b', 0xff, 0, 0x20},
		[]byte{0, 0}, written(asLast, "c", "3"))
	for how := range byte(2 * logResealed) {
		f.Add(join([]byte{how}, ops), []byte{})
		f.Add(join([]byte{how}, hidden), join(at(turnBits, frame(1)+20, 1), at(endThere, frame(9), 0)))
		for _, d := range [][]byte{
			at(turnBits, frame(0)+format.FrameHeaderLen+17, 1), at(turnBits, frame(1)+format.FrameHeaderLen+20, 1), at(turnBits, frame(1)+11, 0x80), at(turnBits, frame(3)+70, 1), at(zeroSector, frame(1), 0),
			at(endThere, frame(2)+100, 0), at(endThere, frame(0), 0), at(copySector, frame(0), frame(1)), at(copySector, frame(2), frame(0)),
			at(turnBits, 41, 1), at(turnBits, format.BlockSize+60, 1), join(at(zeroSector, frame(0), 0), at(endThere, frame(1), 0)),
			at(turnBits, frame(0)+format.FrameHeaderLen+3, 0xff), at(turnBits, frame(0)+format.FrameHeaderLen+4, 0xff), // lengths
		} {
			f.Add(join([]byte{how}, ops), d)
		}
	}
	f.Fuzz(func(t *testing.T, script, damages []byte) {
		l := writeLog(script)
		b := inflict(damages, l.data).file
		intact := bytes.Equal(b, l.data)
		if l.how&logResealed != 0 {
			l.reseal(b)
		}
		var end int64
		if l.how&logHasSuccessor != 0 {
			end = l.end
		}
		bounded(t, len(b), func() {
			groups, r, err := readLog(t, b, end)
			require.LessOrEqual(t, len(groups), len(l.groups))
			for i := range groups {
				require.Equal(t, l.groups[i], groups[i], "group %d", i)
			}
			if intact {
				require.Len(t, groups, len(l.groups))
				require.Equal(t, l.end, r.Offset())
			}
			l.checkEnd(t, b, intact, err)
		})
	})
}

// checkEnd looks at how the reading of b ended.
func (l *logFile) checkEnd(t *testing.T, b []byte, intact bool, err error) {
	var torn *logrecord.TornError
	var damaged *logrecord.DamageError
	switch {
	case intact && l.how&(logSealed|logHasSuccessor) != 0:
		require.ErrorIs(t, err, io.EOF)
	case intact:
		require.ErrorAs(t, err, &torn)
		require.Equal(t, l.end, torn.Offset)
	case errors.As(err, &damaged):
		require.NotEmpty(t, damaged.Proof)
		if last := len(l.starts) - 1; l.how&^logRecycled == 0 && last >= 0 {
			require.NotEqual(t, l.data[:l.starts[last]], b[:l.starts[last]], "nothing proves that the last frame was durable")
		}
	case errors.As(err, &torn) && bytes.Equal(b[:format.BlockSize], l.data[:format.BlockSize]):
		require.Zero(t, l.how&logHasSuccessor, "the successor proves all frames")
		for _, start := range l.starts {
			if start > torn.Offset {
				require.NotEqual(t, l.data[start:][:format.FrameHeaderLen], b[start:][:format.FrameHeaderLen],
					"the frame at %d proves that the one at %d was durable", start, torn.Offset)
			}
		}
	case errors.Is(err, io.EOF), errors.As(err, &torn):
	default:
		requireOneKind(t, err)
	}
}
