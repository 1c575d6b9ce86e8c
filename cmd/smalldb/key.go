package main

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// keys reads keys from the command line.
type keys struct {
	c        *call
	encoding string
}

// newKeys adds -key-encoding.
func newKeys(c *call) *keys {
	k := &keys{c: c}
	c.flags.StringVar(&k.encoding, "key-encoding", "text", "`encoding` of the keys given: text or base64")
	return k
}

// bytes returns the bytes that text stands for.
func (k *keys) bytes(text string) ([]byte, error) {
	switch k.encoding {
	case "text":
		return []byte(text), nil
	case "base64":
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, usage("key %q is not base64: %v", text, err)
		}
		return key, nil
	}
	return nil, usage("-key-encoding is text or base64, not %q", k.encoding)
}

// key returns a whole key.
func (k *keys) key(text string) ([]byte, error) {
	key, err := k.bytes(text)
	switch {
	case err != nil:
		return nil, err
	case len(key) == 0:
		return nil, usage("a key has at least one byte")
	case len(key) > format.MaxKeyLen:
		return nil, usage("a key has at most %d bytes, this one %d", format.MaxKeyLen, len(key))
	}
	return key, nil
}

// keyRange is the keys from start to before end, nil being the first and behind the last.
type keyRange struct {
	start, end []byte
	prefix     []byte // what start and end were made from, if they were
	limit      int    // of entries; 0 means none
	reverse    bool   // greatest first
}

// rangeFlags are the flags of a range, as they are given.
type rangeFlags struct {
	keys               *keys
	prefix, start, end string
	limit              int
	reverse            bool
}

func newRange(c *call) *rangeFlags {
	r := &rangeFlags{keys: newKeys(c)}
	c.flags.StringVar(&r.prefix, "prefix", "", "only keys that begin with this `prefix`")
	c.flags.StringVar(&r.start, "start", "", "only from this `key` on")
	c.flags.StringVar(&r.end, "end", "", "only to before this `key`")
	return r
}

func (r *rangeFlags) get() (keyRange, error) {
	if r.prefix != "" && (r.start != "" || r.end != "") {
		return keyRange{}, usage("-prefix does not go with -start or -end")
	}
	if r.limit < 0 {
		return keyRange{}, usage("-limit %d is negative", r.limit)
	}
	result := keyRange{limit: r.limit, reverse: r.reverse}
	for _, part := range []struct {
		text string
		key  *[]byte
	}{{r.prefix, &result.prefix}, {r.start, &result.start}, {r.end, &result.end}} {
		key, err := r.keys.bytes(part.text)
		if err != nil {
			return keyRange{}, err
		}
		if len(key) > 0 {
			*part.key = key
		}
	}
	if result.prefix != nil {
		result.start, result.end = result.prefix, engine.PrefixEnd(result.prefix)
	}
	return result, nil
}

// appendField appends text as it is, if it is printable and cannot be taken for more than one field, and
// else as a Go string literal.
func appendField(dst, text []byte) []byte {
	if isPlain(text) {
		return append(dst, text...)
	}
	return strconv.AppendQuote(dst, string(text))
}

func isPlain(text []byte) bool {
	return utf8.Valid(text) && !bytes.HasPrefix(text, []byte{'"'}) &&
		bytes.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
