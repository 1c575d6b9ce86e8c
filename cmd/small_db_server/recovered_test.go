package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkBounds compares the number of keys that s opened with what was acknowledged and what was sent.
func (j *job) checkBounds(s *server) {
	j.t.Helper()
	acknowledged := len(j.those(present))
	sent := acknowledged + len(j.those(unknown))
	keys := j.keys(s)
	j.t.Logf("%d keys; %d were acknowledged, %d sent", keys, acknowledged, sent)
	assert.GreaterOrEqual(j.t, keys, acknowledged, "all that was acknowledged is there")
	assert.LessOrEqual(j.t, keys, sent, "only what was sent is there")
}

// checkKeys compares the number of keys that s opened with the files that are known to be there: if they are equal, there is no
// other key. Each has been written once, so it is the sequence, too.
func (j *job) checkKeys(s *server) {
	j.t.Helper()
	keys := len(j.those(present))
	assert.Equal(j.t, keys, j.keys(s), "there is no key but those found")
	_, seq, _ := strings.Cut(s.field("version"), ".")
	assert.Equal(j.t, strconv.Itoa(keys), seq, "no operation took place twice, or left a gap")
}

func (j *job) keys(s *server) int {
	j.t.Helper()
	keys, err := strconv.Atoi(s.field("keys"))
	require.NoError(j.t, err, s.intro)
	return keys
}

// verify reads every file and every stranger. Afterwards no file is unknown.
func (j *job) verify(s *server) {
	j.t.Helper()
	var mu sync.Mutex
	var wrong []error
	each(j.t, s, len(j.files)+len(j.strangers), func(c *client, i int) bool {
		var err error
		if i < len(j.files) {
			err = j.verifyFile(c, j.files[i])
		} else {
			err = j.verifyStranger(c, j.strangers[i-len(j.files)])
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			wrong = append(wrong, err)
		}
		return len(wrong) < 10
	})
	require.Empty(j.t, wrong)
}

// verifyFile reads a file and holds that it is there if it must be, not there if it cannot be, and never another.
func (j *job) verifyFile(c *client, f *file) error {
	// A slash in a key can be sent as it is. The PUT did not.
	path := strings.ReplaceAll(url.PathEscape(f.key), "%2F", "/")
	status, answer, err := c.do("GET", "/v1/kv/"+path, nil)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound && f.state != present:
		f.state = absent
		return nil
	case status == http.StatusOK && f.state != absent && bytes.Equal(answer, f.answer()):
		f.state = present
		return nil
	case status == http.StatusOK && f.state == absent:
		return fmt.Errorf("%q was never sent and is there", f.key)
	case status == http.StatusOK:
		return fmt.Errorf("%q has another value: the answer of %d bytes is not the expected one of %d", f.key, len(answer), len(f.answer()))
	}
	return fmt.Errorf("GET %q: %d %s", f.key, status, answer)
}

func (j *job) verifyStranger(c *client, key string) error {
	status, answer, err := c.do("GET", "/v1/kv/"+url.PathEscape(key), nil)
	if err == nil && status != http.StatusNotFound {
		err = fmt.Errorf("%q was never sent: %d %s", key, status, answer)
	}
	return err
}

// answer is the answer to a GET that finds the file.
func (f *file) answer() []byte {
	key, err := json.Marshal(f.key)
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, "{\"key\":%s,\"value\":\"%s\",\"encoding\":\"base64\"}\n", key, base64.StdEncoding.EncodeToString(f.value))
}
