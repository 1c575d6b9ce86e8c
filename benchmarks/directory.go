package benchmarks

import "fmt"

// CheckDirectory refuses a directory that lies in memory: what is measured there says nothing about a disk.
func CheckDirectory(path string) error {
	ok, err := onDisk(path)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s is on a file system in memory; name a directory on a disk with -dir", path)
	}
	return nil
}
