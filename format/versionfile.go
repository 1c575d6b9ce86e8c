package format

import (
	"encoding/binary"
	"fmt"
)

const (
	versionMagic = "SMDBVERS"
	// VersionFileLen is the size of version and newVersion, in bytes.
	VersionFileLen = 128
)

// VersionFile is the content of version and of newVersion: which generation to start from.
type VersionFile struct {
	UUID       UUID
	Generation uint64 // of the checkpoint to start from; at least 1
	// Previous is the generation of the checkpoint that is kept, with all logs from
	// it on, to repair this one from; 0 if there is none. Files of generations
	// below it are garbage.
	Previous      uint64
	CheckpointLen uint64 // of checkpoint.Generation, in bytes
	CheckpointSum uint64 // the checksum of its footer: names the file exactly
	Epoch         uint64 // when this was written
}

// Encode writes the file to b, which must be VersionFileLen bytes.
func (v *VersionFile) Encode(b []byte) {
	clear(b[:VersionFileLen])
	putPrologue(b, versionMagic)
	copy(b[16:32], v.UUID[:])
	for i, f := range [...]uint64{v.Generation, v.Previous, v.CheckpointLen, v.CheckpointSum, v.Epoch} {
		binary.LittleEndian.PutUint64(b[32+8*i:], f)
	}
	putSum(b[:VersionFileLen], 0, 0)
}

// DecodeVersionFile reads and validates the whole content of version or newVersion.
func DecodeVersionFile(b []byte) (VersionFile, error) {
	if err := checkPrologue(b, versionMagic, VersionFileLen, 0, 0); err != nil {
		return VersionFile{}, fmt.Errorf("version file: %w", err)
	}
	if len(b) != VersionFileLen {
		return VersionFile{}, fmt.Errorf("version file: %w: %d bytes, want %d", ErrLength, len(b), VersionFileLen)
	}
	if err := checkSum(b, 0, 0); err != nil {
		return VersionFile{}, fmt.Errorf("version file: %w", err)
	}
	if !allZero(b[12:16]) || !allZero(b[72:VersionFileLen-SumLen]) {
		return VersionFile{}, fmt.Errorf("version file: %w", errReserved)
	}
	le := binary.LittleEndian
	v := VersionFile{
		UUID:       UUID(b[16:32]),
		Generation: le.Uint64(b[32:]), Previous: le.Uint64(b[40:]),
		CheckpointLen: le.Uint64(b[48:]), CheckpointSum: le.Uint64(b[56:]), Epoch: le.Uint64(b[64:]),
	}
	if v.Generation == 0 || v.Previous >= v.Generation || v.Epoch == 0 || v.CheckpointLen > MaxCheckpointLen {
		return VersionFile{}, fmt.Errorf("version file: %w: %+v", ErrField, v)
	}
	return v, nil
}
