package torture_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/cmd/smalldb/torture"
)

// TestDeleteHidesItsKeyOnly: a delete without an answer explains why its own key is not set, and not why another one is not.
func TestDeleteHidesItsKeyOnly(t *testing.T) {
	m := torture.NewModel()
	for _, e := range []torture.Event{
		{Kind: torture.Opened}, issue(1, set("own")), ack(1, 1), issue(2, set("marker")), ack(2, 2), issue(3, del("own")),
	} {
		require.NoError(t, m.Note(e))
	}
	for name, row := range map[string]struct {
		entries entries
		want    string // of the violation; "" for none
	}{
		"its own": {entries{"marker": is(2, 0, 2)}, ""},
		"another": {entries{"own": is(1, 0, 1)}, "lost: operation 2 on marker"},
		"both":    {entries{}, "lost: operation 2 on marker"},
	} {
		_, _, err := m.Judge(torture.NewState(3, row.entries))
		if row.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, row.want, name)
	}
}
