package main

import (
	"bytes"
	"encoding/base64"
	"os/exec"
)

func etcdContender() *contender {
	const program = "etcd"
	return &contender{
		name: etcdName, settings: "one member, default settings, which sync before the answer; its HTTP JSON gateway", program: program,
		command: func(_, dir, addr string) (*exec.Cmd, error) {
			peers, err := freeAddr()
			if err != nil {
				return nil, err
			}
			clientURL, peerURL := "http://"+addr, "http://"+peers
			return exec.Command(program, "--data-dir", dir, "--name", "one", "--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
				"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "one="+peerURL), nil
		},
		version: func() string { return firstLine(program, "--version") },
		client:  func(w *wire) client { return &etcdClient{httpConn{wire: w}} },
	}
}

// etcdClient makes the requests of etcd's gateway: protocol buffers as JSON, bytes as base64.
type etcdClient struct{ httpConn }

func (c *etcdClient) get(key []byte) ([]byte, error) {
	c.begin("POST", "/v3/kv/range", nil)
	c.body = append(c.body[:0], `{"key":"`...)
	c.body = base64.StdEncoding.AppendEncode(c.body, key)
	body, err := c.ask(append(c.body, `"}`...))
	if err != nil {
		return nil, err
	}
	_, text, ok := bytes.Cut(body, []byte(`"value":"`))
	if ok {
		text, _, ok = bytes.Cut(text, []byte(`"`))
	}
	if !ok {
		return nil, wrong("answer to a range", body)
	}
	return c.decode(text)
}

func (c *etcdClient) put(key, value []byte) error {
	c.begin("POST", "/v3/kv/put", nil)
	c.body = append(c.body[:0], `{"key":"`...)
	c.body = base64.StdEncoding.AppendEncode(c.body, key)
	c.body = append(c.body, `","value":"`...)
	c.body = base64.StdEncoding.AppendEncode(c.body, value)
	body, err := c.ask(append(c.body, `"}`...))
	if err == nil && !bytes.Contains(body, []byte(`"revision":"`)) {
		return wrong("answer to a put", body)
	}
	return err
}
