package http

import (
	"encoding/base64"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/tongpengdl/small-db/engine"
)

const (
	// sendBytes is the size from which a sender's buffer goes out, in one Write.
	sendBytes = 48 << 10
	// encodeBytes is how much of a value is encoded before that is asked: a multiple of 3, so that the base64 of the parts is that
	// of the whole, and so little that a buffer that is kept has room for it, each byte in six.
	encodeBytes = 2304
)

// sender encodes values of any size through one buffer of about 64 KiB, the text of its scratch. What it writes is what the functions
// that append write. One goroutine uses it.
type sender struct {
	out io.Writer
	sc  *scratch
}

func newSender(out io.Writer, sc *scratch) sender {
	sc.text = slices.Grow(sc.text[:0], maxScratchBytes)
	return sender{out, sc}
}

// line sends what AppendLine appends.
func (s sender) line(e *engine.Entry) error {
	if len(e.Value) <= encodeBytes {
		s.sc.text = AppendLine(s.sc.text, e)
		return s.sendFull()
	}
	s.sc.text = appendLineFront(s.sc.text, e)
	text, err := isShortText(e.Value), error(nil)
	if text {
		err = s.escaped(e.Value)
	} else {
		err = s.base64(e.Value)
	}
	s.sc.text = appendLineEnd(s.sc.text, e, text)
	if err != nil {
		return err
	}
	return s.sendFull()
}

// escaped sends what appendEscaped appends.
func (s sender) escaped(text []byte) error {
	for len(text) > 0 {
		n := wholeCharacters(text, encodeBytes)
		s.sc.text = appendEscaped(s.sc.text, text[:n])
		text = text[n:]
		if err := s.sendFull(); err != nil {
			return err
		}
	}
	return nil
}

// base64 sends b as base64.
func (s sender) base64(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), encodeBytes)
		s.sc.text = base64.StdEncoding.AppendEncode(s.sc.text, b[:n])
		b = b[n:]
		if err := s.sendFull(); err != nil {
			return err
		}
	}
	return nil
}

// sendFull sends what is in the buffer if that is enough.
func (s sender) sendFull() error {
	if len(s.sc.text) < sendBytes {
		return nil
	}
	return s.send()
}

// send sends what is in the buffer.
func (s sender) send() error {
	if len(s.sc.text) == 0 {
		return nil
	}
	_, err := s.out.Write(s.sc.text)
	s.sc.text = s.sc.text[:0]
	return err
}

// wholeCharacters is the size of the longest front of text, which is UTF-8, that has at most limit bytes and ends with a character.
func wholeCharacters(text []byte, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return limit
}
