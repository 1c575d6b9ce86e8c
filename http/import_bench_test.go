package http_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/engine/enginetest"
	kvhttp "github.com/tongpengdl/small-db/http"
)

// BenchmarkImport is an import over a connection and, beside it in the same run, the limit: the same entries in
// batches of 1000, applied directly. One operation is one entry.
func BenchmarkImport(b *testing.B) {
	value := bytes.Repeat([]byte("plain text value"), 8)
	key := func(i int) []byte { return fmt.Appendf(nil, "user/%011d", i) }
	b.Run("engine", func(b *testing.B) {
		db := enginetest.Open(b, engine.Options{})
		var batch engine.Batch
		b.ResetTimer()
		for i := range b.N {
			batch.Set(key(i), value)
			if batch.Len() == 1000 || i == b.N-1 {
				_, err := db.Apply(context.Background(), &batch)
				require.NoError(b, err)
				batch.Reset()
			}
		}
	})
	b.Run("http", func(b *testing.B) {
		server := start(b, enginetest.Open(b, engine.Options{}), kvhttp.Options{})
		var lines []byte
		for i := range b.N {
			lines = kvhttp.AppendLine(lines, &engine.Entry{Key: key(i), Value: value})
		}
		b.ResetTimer()
		response, err := http.Post("http://"+server.Addr().String()+"/v1/import", "", bytes.NewReader(lines))
		require.NoError(b, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(b, err)
		require.Equal(b, fmt.Sprintf(`{"ok":true,"imported":%d}`+"\n", b.N), string(body))
		b.StopTimer()
	})
	b.Run("export", func(b *testing.B) {
		db := enginetest.Open(b, engine.Options{})
		var batch engine.Batch
		for i := range b.N {
			batch.Set(key(i), value)
			if batch.Len() == 1000 || i == b.N-1 {
				_, err := db.Apply(context.Background(), &batch)
				require.NoError(b, err)
				batch.Reset()
			}
		}
		server := start(b, db, kvhttp.Options{})
		b.ResetTimer()
		response, err := http.Get("http://" + server.Addr().String() + "/v1/export")
		require.NoError(b, err)
		n, err := io.Copy(io.Discard, response.Body)
		require.NoError(b, err)
		require.Positive(b, n)
		b.StopTimer()
	})
}
