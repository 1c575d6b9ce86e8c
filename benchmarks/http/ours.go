package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module     = "github.com/tongpengdl/small-db"
	serverName = "small_db_server"
)

func oursContender() *contender {
	return &contender{
		name: ours, settings: "cmd/" + serverName + " with its default flags, HTTP, values as base64 in JSON",
		command: func(bin, dir, addr string) (*exec.Cmd, error) {
			return exec.Command(filepath.Join(bin, serverName), "-dir", dir, "-create", "-addr", addr), nil
		},
		version: func() string { return "" }, // the one that this program was built beside
		client:  func(w *wire) client { return &oursClient{httpConn{wire: w}, oursEntry} },
	}
}

// buildServer builds our server into a directory, from the module that this program was built beside.
func buildServer(ctx context.Context, bin string) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	list.Stderr = os.Stderr
	root, err := list.Output()
	if err != nil {
		return fmt.Errorf("find the module of the server, from benchmarks/http: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, serverName), "./cmd/"+serverName)
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", serverName, err, out)
	}
	return nil
}

// oursClient makes our requests. value reads the answer to a GET: the empty handler gives another one.
type oursClient struct {
	httpConn
	value func(c *httpConn, key, body []byte) ([]byte, error)
}

func (c *oursClient) get(key []byte) ([]byte, error) {
	c.begin("GET", "/v1/kv/", key)
	body, err := c.ask(nil)
	if err != nil {
		return nil, err
	}
	return c.value(&c.httpConn, key, body)
}

var oursOK = []byte("{\"ok\":true}\n")

func (c *oursClient) put(key, value []byte) error {
	c.begin("PUT", "/v1/kv/", key)
	c.body = append(c.body[:0], `{"value":"`...)
	c.body = base64.StdEncoding.AppendEncode(c.body, value)
	body, err := c.ask(append(c.body, `","encoding":"base64"}`...))
	if err == nil && !bytes.Equal(body, oursOK) {
		return wrong("answer to a PUT", body)
	}
	return err
}

// oursEntry is the value in an answer, which names the key.
func oursEntry(c *httpConn, key, body []byte) ([]byte, error) {
	text, ok := bytes.CutPrefix(body, []byte(`{"key":"`))
	if ok {
		text, ok = bytes.CutPrefix(text, key)
	}
	if ok {
		text, ok = bytes.CutPrefix(text, []byte(`","value":"`))
	}
	if ok {
		text, ok = bytes.CutSuffix(text, []byte("\",\"encoding\":\"base64\"}\n"))
	}
	if !ok {
		return nil, wrong("answer to a GET", body)
	}
	return c.decode(text)
}

// decode decodes base64 into a buffer that is kept.
func (c *httpConn) decode(text []byte) ([]byte, error) {
	var err error
	if c.value, err = base64.StdEncoding.AppendDecode(c.value[:0], text); err != nil {
		return nil, errors.Join(wrong("base64", text), err)
	}
	return c.value, nil
}
