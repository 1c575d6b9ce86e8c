package format

import (
	"strconv"
	"strings"
)

// Names of the files of a data directory.
const (
	LockName       = "LOCK"       // locked for the life of the process
	VersionName    = "version"    // the generation to start from
	NewVersionName = "newVersion" // the next one, while a switch is in progress
	SpareName      = "spare"      // a prepared log waiting for its turn
	TempSuffix     = ".tmp"       // of a file that is being written; garbage after a crash

	logPrefix        = "logfile."
	checkpointPrefix = "checkpoint."
)

// LogName is the name of the log of this generation.
func LogName(generation uint64) string { return logPrefix + strconv.FormatUint(generation, 10) }

// CheckpointName is the name of the checkpoint of this generation.
func CheckpointName(generation uint64) string {
	return checkpointPrefix + strconv.FormatUint(generation, 10)
}

// ParseLogName returns the generation of a log by its name.
func ParseLogName(name string) (uint64, bool) { return parseName(name, logPrefix) }

// ParseCheckpointName returns the generation of a checkpoint by its name.
func ParseCheckpointName(name string) (uint64, bool) { return parseName(name, checkpointPrefix) }

func parseName(name, prefix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false // no sign, no leading zero: one name for one generation
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}
