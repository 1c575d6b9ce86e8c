package engine_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
)

// A key may lie in the memory that its value is appended to, behind it or in front, and what lies behind the value is left alone.
func TestAppendGetToTheMemoryOfItsKey(t *testing.T) {
	db, err := engine.Open(quiet(t))
	require.NoError(t, err)
	defer db.Close()
	key := "a-key-of-mine"
	for _, where := range []string{"delta", "base"} {
		for _, size := range []int{0, 1, 100, 1000, 40_000} {
			value := string(bytesOf("v", size))
			set(t, db, key, value)
			if where == "base" {
				require.NoError(t, db.Checkpoint(ctx))
			}
			for _, at := range []int{0, 1, 8, 24, 30} { // of the key in the buffer
				buf := bytes.Repeat([]byte{0xee}, 64<<10)
				copy(buf[at:], key)
				got, ok, err := db.AppendGet(buf[:0], buf[at:at+len(key)])
				require.NoError(t, err)
				require.True(t, ok, "%s, %d bytes, key at %d", where, size, at)
				require.Equal(t, value, string(got))
				behind := max(size, at+len(key))
				require.Equal(t, bytes.Repeat([]byte{0xee}, len(buf)-behind), buf[behind:], "what lies behind")
			}
			exact := make([]byte, 3, 3+size)
			got, ok, err := db.AppendGet(exact, []byte(key))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, 3+size, cap(got), "it has room")
		}
	}
}
