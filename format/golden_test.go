package format_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// These tests open what version 1 wrote, from the files alone. They do not change when the
// code does: files like these are out there.

func golden(t *testing.T, name string) []byte {
	b, err := os.ReadFile(filepath.Join(goldenDir, name))
	require.NoError(t, err)
	return b
}

func TestOpenVersion1(t *testing.T) {
	v, err := format.DecodeVersionFile(golden(t, "version"))
	require.NoError(t, err)
	checkpoint := golden(t, "checkpoint.2")
	require.Equal(t, format.VersionFile{
		UUID: format.UUID([]byte("a small database")), Generation: 2, CheckpointLen: 5656, CheckpointSum: 0xc72b64e5cb3acee8, Epoch: 1,
	}, v)
	require.Equal(t, v.CheckpointLen, uint64(len(checkpoint)))
	require.Equal(t, v.CheckpointSum, number(checkpoint[len(checkpoint)-format.SumLen:]), "version names this checkpoint")
}

func TestOpenVersion1Checkpoint(t *testing.T) {
	b := golden(t, "checkpoint.2")
	h, err := format.DecodeCheckpointHeader(b)
	require.NoError(t, err)
	require.Equal(t, format.Position{Epoch: 1, Seq: 3, Index: 1, Time: 1767323045e9, Chain: 0xcd86658e16188b4d}, h.Position)
	end := len(b) - format.FooterLen
	f, err := format.DecodeFooter(b[end:], h.Salt, uint64(len(b)))
	require.NoError(t, err)
	require.Equal(t, f.DirSum, format.Sum(b[f.Directory:end], h.Salt, f.Directory))

	kinds := map[format.SegmentKind]format.Segment{}
	for at := f.Directory; at < uint64(end); at += format.SegmentEntryLen {
		s, err := format.DecodeSegment(b[at:], f.Directory)
		require.NoError(t, err)
		require.Equal(t, s.Sum, format.Sum(b[s.Offset:s.Offset+s.Length], h.Salt, s.Offset))
		kinds[s.Kind] = s
	}
	require.Len(t, kinds, 5)

	records := kinds[format.SegmentRecords]
	block, err := format.DecodeWordBlock(b[f.OrderedAt:], h.Salt, f.OrderedAt)
	require.NoError(t, err)
	require.Equal(t, format.WordBlock{records.Offset}, block)
	block, err = format.DecodeWordBlock(b[f.DeadlinesAt:], h.Salt, f.DeadlinesAt)
	require.NoError(t, err)
	require.Equal(t, format.WordBlock{4102444800e9}, block, "of cherry")
	bucket, err := format.DecodeBucket(b[f.BucketsAt:], h.Salt, f.BucketsAt)
	require.NoError(t, err)
	at, seqs := records.Offset, map[string]uint64{}
	for range records.Count {
		e, size, err := format.DecodeEntry(b[at:], h.Salt, at)
		require.NoError(t, err)
		hash := format.KeyHash(f.HashSeed, e.Key)
		require.Zero(t, format.BucketOf(hash, f.Buckets))
		require.Contains(t, bucket, format.NewSlot(hash, at))
		seqs[string(e.Key)+"="+string(e.Value)] = records.BaseSeq + uint64(e.SeqDelta)
		at += uint64(size)
	}
	require.Equal(t, records.Offset+records.Length, at)
	require.Equal(t, map[string]uint64{"apple=green": 2, "banana=yellow": 1, "cherry=red": 3}, seqs)

	epochs := kinds[format.SegmentEpochs]
	starts, err := format.DecodeEpochs(b[epochs.Offset:][:epochs.Length])
	require.NoError(t, err)
	require.Equal(t, []format.EpochStart{{Epoch: 1, FirstSeq: 1}}, starts)
}

func TestOpenVersion1Log(t *testing.T) {
	b := golden(t, "logfile.2")
	id, err := format.DecodeLogIdentity(b)
	require.NoError(t, err)
	require.Equal(t, int64(len(b)), id.Size)
	p, err := format.DecodePredecessor(b[format.BlockSize:], id.Salt)
	require.NoError(t, err)
	require.Equal(t, format.Predecessor{
		Generation: 1, Salt: 0x1111111122222222, End: 8704, Commit: 3,
		Position: format.Position{Epoch: 1, Seq: 3, Index: 1, Time: 1767323045e9, Chain: 0xcd86658e16188b4d},
	}, p)

	var records []format.Record
	last, offset := p.Position, uint64(format.LogHeaderSize)
	for {
		h, err := format.DecodeFrameHeader(b[offset:], id.Salt, offset)
		require.NoError(t, err)
		require.Equal(t, last.Seq+1, h.FirstSeq)
		payload := b[offset+format.FrameHeaderLen:][:h.Length]
		require.NoError(t, h.CheckPayload(payload, id.Salt, offset))
		if h.Kind == format.FrameTrailer {
			trailer, err := format.DecodeTrailer(payload)
			require.NoError(t, err)
			require.Equal(t, format.Trailer{Generation: 3}, trailer)
			require.Equal(t, last.Chain, h.Chain)
			break
		}
		chain := format.NewChain(nil, last.Chain, h.Epoch, h.FirstSeq, h.Time)
		for at := 0; at < len(payload); {
			r, size, err := format.DecodeRecord(payload[at:], id.Salt, offset+format.FrameHeaderLen+uint64(at))
			require.NoError(t, err)
			chain.Add(r.Hash)
			r.Hash = 0
			records = append(records, r)
			at += size
		}
		require.Equal(t, h.Chain, chain.Sum())
		last = format.Position{Epoch: h.Epoch, Seq: h.LastSeq(), Index: h.Index, Time: h.Time, Chain: h.Chain}
		offset += uint64(format.FrameLen(len(payload), int64(id.Align)))
	}
	require.Equal(t, []format.Record{
		{Kind: format.KindSet, Seq: 4, Key: []byte("date"), Value: []byte("brown")},
		{Kind: format.KindSet, Seq: 5, Expiry: 4102444800e9, Key: []byte("elderberry"), Value: []byte("black")},
		{Kind: format.KindDelete, Seq: 6, Key: []byte("apple"), Value: []byte{}},
	}, records)
}
