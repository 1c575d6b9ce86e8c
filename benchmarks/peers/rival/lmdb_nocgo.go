//go:build !cgo

package rival

import "errors"

func lmdbRival() *Rival {
	return &Rival{
		Name: "LMDB", Module: "github.com/PowerDNS/lmdb-go", Durable: true, Reads: true, Ordered: true,
		Missing: func() error { return errors.New("it is a C library, and this program was built without cgo") },
	}
}
