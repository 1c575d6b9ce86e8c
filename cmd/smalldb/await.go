package main

import (
	"context"
	"fmt"
	"os"
)

// await does what may wait in the system and has no other end, such as opening a named pipe. When ctx ends first, it is left behind;
// what it comes to later is given to discard.
func await[T any](ctx context.Context, do func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := do()
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				discard(o.result)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}

// openFile is os.OpenFile for a file that may be a named pipe.
func openFile(ctx context.Context, name string, flags int) (*os.File, error) {
	if name == "" {
		return nil, usage("the name of a file is empty")
	}
	f, err := await(ctx, func() (*os.File, error) { return os.OpenFile(name, flags, 0) }, func(f *os.File) { _ = f.Close() })
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, err
}
