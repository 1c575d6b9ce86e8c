package format_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/format"
)

// TestFetch: what is fetched of a record or an entry is what is decoded, however much room there is; what is another key's, or damaged, leaves dst alone.
func TestFetch(t *testing.T) {
	const salt, offset = 7, 4096
	type fetched struct{ key, value, expiry string }
	said := func(key, value []byte, expiry int64) fetched {
		return fetched{string(key), string(value), fmt.Sprint(expiry)}
	}
	fetchers := map[string]struct {
		encode func(key, value []byte, expiry int64) []byte
		fetch  func(small, dst, b, key []byte) (fetched, []byte, bool, error)
	}{
		"record": {
			func(key, value []byte, expiry int64) []byte {
				b, _ := format.AppendRecord(nil, &format.Record{Kind: format.KindSet, Seq: 5, Expiry: expiry, Key: key, Value: value}, salt, offset)
				return b
			},
			func(small, dst, b, key []byte) (fetched, []byte, bool, error) {
				r, out, same, err := format.FetchRecord(small, dst, b, key, salt, offset)
				return said(r.Key, r.Value, r.Expiry), out, same, err
			},
		},
		"entry": {
			func(key, value []byte, expiry int64) []byte {
				return format.AppendEntry(nil, &format.Entry{SeqDelta: -5, Expiry: expiry, Key: key, Value: value}, salt, offset)
			},
			func(small, dst, b, key []byte) (fetched, []byte, bool, error) {
				e, out, same, err := format.FetchEntry(small, dst, b, key, salt, offset)
				return said(e.Key, e.Value, e.Expiry), out, same, err
			},
		},
	}
	for name, f := range fetchers {
		for _, keyLen := range []int{1, 16, 300} {
			for _, valueLen := range []int{0, 1, 200, 3000} {
				for _, expiry := range []int64{0, 1 << 60} {
					for _, room := range []int{0, 40, 256, 8192} {
						what := fmt.Sprintf("%s: key of %d, value of %d, expiry %d, room for %d", name, keyLen, valueLen, expiry, room)
						key, value := bytes.Repeat([]byte("k"), keyLen), bytes.Repeat([]byte("v"), valueLen)
						b := f.encode(key, value, expiry)
						dst := append(make([]byte, 0, 8192), "before"...)
						got, out, same, err := f.fetch(make([]byte, 0, room), dst, b, key)
						require.NoError(t, err, what)
						require.True(t, same, what)
						require.Equal(t, said(key, value, expiry), got, what)
						require.Contains(t, []string{"before", "before" + string(value)}, string(out), what)

						clear(dst[len(dst):cap(dst)])
						untouched := func() bool { return len(bytes.Trim(dst[len(dst):cap(dst)], "\x00")) == 0 }
						_, out, same, err = f.fetch(make([]byte, 0, room), dst, b, append(key[:keyLen-1:keyLen-1], 'x'))
						require.NoError(t, err, what)
						require.False(t, same, what)
						require.Equal(t, "before", string(out), what)
						require.True(t, untouched(), what)
						for at := 0; at < len(b); at += 1 + len(b)/97 {
							b[at] ^= 0x40
							_, _, same, err = f.fetch(make([]byte, 0, room), dst, b, key)
							require.Error(t, err, "%s: byte %d", what, at)
							require.False(t, same, what)
							b[at] ^= 0x40
						}
					}
				}
			}
		}
	}
}
