package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/tongpengdl/small-db/benchmarks"
	"github.com/tongpengdl/small-db/format"
)

// askedEmpty is the variable that makes this program the empty handler, at the address that it holds.
const askedEmpty = "SMALLDB_HTTP_EMPTY"

func emptyContender() *contender {
	return &contender{
		name: emptyName, settings: "a handler of net/http that stores nothing: GET answers 128 bytes, PUT reads the body; the settings of our server", limit: true,
		command: func(_, _, addr string) (*exec.Cmd, error) {
			self, err := os.Executable()
			if err != nil {
				return nil, err
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), askedEmpty+"="+addr)
			return cmd, nil
		},
		version: runtime.Version,
		client:  func(w *wire) client { return &oursClient{httpConn{wire: w}, emptyValue} },
	}
}

// serveEmptyIfAsked makes this process the empty handler if it was started as one. Then it does not return.
func serveEmptyIfAsked() {
	if addr := os.Getenv(askedEmpty); addr != "" {
		fmt.Fprintln(os.Stderr, emptyServer(addr).ListenAndServe())
		os.Exit(1)
	}
}

// emptyServer has the settings that http.NewServer of this project gives its own.
func emptyServer(addr string) *http.Server {
	return &http.Server{
		Addr: addr, Handler: http.HandlerFunc(serveEmpty),
		DisableGeneralOptionsHandler: true,

		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16<<10 + 3*format.MaxKeyLen,
	}
}

var (
	contentType = []string{"application/json"} // without it net/http would look for it in the body
	emptyBody   = bytes.Repeat([]byte("e"), benchmarks.ValueLen)
)

func serveEmpty(w http.ResponseWriter, r *http.Request) {
	body := emptyBody
	if r.Method == http.MethodPut {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body = oursOK
	}
	w.Header()["Content-Type"] = contentType
	_, _ = w.Write(body) // if it fails the client is gone
}

// emptyValue makes what the empty handler answers to every GET the value of the key.
func emptyValue(c *httpConn, key, body []byte) ([]byte, error) {
	if !bytes.Equal(body, emptyBody) {
		return nil, wrong("answer to a GET", body)
	}
	c.value = append(append(c.value[:0], key...), body[len(key):]...)
	return c.value, nil
}
