package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// takeTurns runs both revisions once in each round, and returns the verdict. Whether they can be compared at all shows after the first round.
func (t *tools) takeTurns(base, tested *revision, o *options, progress io.Writer) (rows []row, err error) {
	turn := [2]*revision{base, tested}
	started := time.Now()
	for round := 1; round <= o.rounds; round++ {
		for _, r := range turn {
			if err := t.measure(r, o); err != nil {
				return nil, err
			}
		}
		turn[0], turn[1] = turn[1], turn[0]
		found, err := readResults(base.output, tested.output)
		if err != nil {
			return nil, err
		}
		if err := found.paired(o.bench); err != nil {
			return nil, err
		}
		if rows, err = found.judge(o.only, o.threshold); err != nil {
			return nil, err
		}
		took := time.Since(started)
		left := took / time.Duration(round) * time.Duration(o.rounds-round)
		fmt.Fprintf(progress, "round %d of %d, %s; %s to go\n", round, o.rounds, took.Round(time.Second), left.Round(time.Second))
	}
	return rows, nil
}

// measure runs the benchmarks of a revision once and adds what they print to its output.
func (t *tools) measure(r *revision, o *options) error {
	printed, err := t.run(filepath.Join(r.tree, o.pkg), nil, r.binary, "-test.run=^$", "-test.bench="+o.bench, "-test.benchtime="+o.benchtime,
		fmt.Sprintf("-test.benchmem=%t", o.benchmem))
	if t.ctx.Err() != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("the benchmarks of %s, %s, failed: %w", r.side, r.label, err)
	}
	output, err := os.OpenFile(r.output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(output, printed); err != nil {
		output.Close()
		return err
	}
	return output.Close()
}
