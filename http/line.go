package http

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// The fields of a line, in the order in which AppendLine writes them.
const (
	lineKey = iota
	lineKeyEncoding
	lineValue
	lineEncoding
	lineExpiresAt
)

var lineNames = [...]string{"key", "key_encoding", "value", "encoding", "expires_at"}

// lineFields are the fields that a line has.
type lineFields [len(lineNames)]quoted

// AppendLine appends e as one line of NDJSON, with its newline, and returns the longer slice, as append does:
//
//	{"key":K,"value":V,"encoding":"utf-8","expires_at":T}
//
// A value is text if it is UTF-8 and JSON writes that in at most twice its bytes. Any other is base64, and its encoding
// says so. The same holds for a key, of which "key_encoding":"base64" says so. A line thus has at most twice the bytes
// of key and value, and 150 more. T is the deadline in UTC as RFC 3339 writes it, to the nanosecond; without a deadline
// there is no such field. The version is not part of a line. DecodeLine reads exactly what went in. No byte of a
// line is below a space but its newline, and U+2028 and U+2029 are escaped, so all programs agree where it ends.
func AppendLine(dst []byte, e *engine.Entry) []byte {
	dst = appendLineFront(dst, e)
	dst, text := appendEncoded(dst, e.Value)
	return appendLineEnd(dst, e, text)
}

// appendLineFront appends what comes before the value, with its first quote.
func appendLineFront(dst []byte, e *engine.Entry) []byte {
	dst, text := appendEncoded(append(dst, `{"key":"`...), e.Key)
	if text {
		return append(dst, `","value":"`...)
	}
	return append(dst, `","key_encoding":"base64","value":"`...)
}

// appendLineEnd appends what comes after the value, which went as text or not, from its last quote on.
func appendLineEnd(dst []byte, e *engine.Entry, text bool) []byte {
	if text {
		dst = append(dst, `","encoding":"utf-8"`...)
	} else {
		dst = append(dst, `","encoding":"base64"`...)
	}
	if !e.Deadline.IsZero() {
		dst = append(dst, `,"expires_at":"`...)
		dst = append(e.Deadline.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	}
	return append(dst, "}\n"...)
}

// DecodeLine reads a line as AppendLine writes it, with or without the newline. The fields may be in any order, with the space and
// the escapes that JSON allows. Each is a string and occurs once; key, value and encoding are always
// there. Nothing is guessed or replaced: other fields, bytes that are not UTF-8, surrogates without a partner, base64 that
// is not standard or has loose bits, fractions of a nanosecond and anything after the object are errors. So is what
// no store can hold: engine.ErrKeyEmpty, engine.ErrKeyTooLarge, engine.ErrValueTooLarge, engine.ErrDeadline.
//
// Key and value are copied over those that into has: one Entry serves for many lines without allocating. What is
// allocated is less than twice the size of line. The version becomes zero. After an error into holds nothing of use.
func DecodeLine(line []byte, into *engine.Entry) error {
	var fields lineFields
	if err := fields.read(line); err != nil {
		return err
	}
	if err := fields.key(into); err != nil {
		return err
	}
	if err := fields.value(into); err != nil {
		return err
	}
	into.Version = engine.Version{}
	return fields.deadline(into)
}

// read finds the fields in line.
func (f *lineFields) read(line []byte) error {
	r := jsonReader{text: line}
	if err := r.symbol('{'); err != nil {
		return err
	}
	for more := r.peek() != '}'; more; {
		place, err := r.lineName()
		if err != nil {
			return err
		}
		if f[place].there {
			return fmt.Errorf("field %q occurs twice", lineNames[place])
		}
		if err := r.symbol(':'); err != nil {
			return err
		}
		if f[place], err = r.string(); err != nil {
			return err
		}
		if more = r.peek() == ','; more {
			r.at++
		}
	}
	if err := r.symbol('}'); err != nil {
		return err
	}
	return r.end()
}

// lineName reads the name of a field, and returns its place.
func (r *jsonReader) lineName() (int, error) {
	name, err := r.string()
	if err != nil {
		return 0, err
	}
	text, err := name.content()
	if err != nil {
		return 0, err
	}
	for place := range lineNames {
		if string(text) == lineNames[place] {
			return place, nil
		}
	}
	return 0, fmt.Errorf("unknown field %q", cut(text, maxEchoBytes))
}

func (f *lineFields) key(into *engine.Entry) error {
	var err error
	if into.Key, err = f.bytes(into.Key, lineKey, lineKeyEncoding); err != nil {
		return err
	}
	switch {
	case len(into.Key) == 0:
		return engine.ErrKeyEmpty
	case len(into.Key) > format.MaxKeyLen:
		return fmt.Errorf("%w: %d bytes, at most %d", engine.ErrKeyTooLarge, len(into.Key), format.MaxKeyLen)
	}
	return nil
}

func (f *lineFields) value(into *engine.Entry) error {
	for _, place := range [...]int{lineValue, lineEncoding} {
		if !f[place].there {
			return fmt.Errorf("field %q is missing", lineNames[place])
		}
	}
	var err error
	if into.Value, err = f.bytes(into.Value, lineValue, lineEncoding); err != nil {
		return err
	}
	return checkValueLen(into.Value, format.MaxValueLen)
}

func checkValueLen(value []byte, limit int) error {
	if len(value) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", engine.ErrValueTooLarge, len(value), limit)
	}
	return nil
}

// bytes copies what a field stands for over dst.
func (f *lineFields) bytes(dst []byte, place, encodingPlace int) ([]byte, error) {
	encoding, err := f[encodingPlace].content()
	if err != nil {
		return dst, fmt.Errorf("field %q: %w", lineNames[encodingPlace], err)
	}
	switch {
	case !f[encodingPlace].there || string(encoding) == "utf-8":
		dst, err = f[place].appendText(dst[:0])
	case string(encoding) == "base64":
		dst, err = f[place].appendDecoded(dst[:0])
	default:
		return dst, fmt.Errorf("field %q: neither utf-8 nor base64: %q", lineNames[encodingPlace], cut(encoding, maxEchoBytes))
	}
	if err != nil {
		return dst, fmt.Errorf("field %q: %w", lineNames[place], err)
	}
	return dst, nil
}

// What engine.ErrDeadline lets through.
var (
	firstDeadline = time.Unix(0, 1)
	lastDeadline  = time.Unix(0, math.MaxInt64)
)

func (f *lineFields) deadline(into *engine.Entry) error {
	into.Deadline = time.Time{}
	field := &f[lineExpiresAt]
	if !field.there {
		return nil
	}
	text, err := field.content()
	if err != nil {
		return fmt.Errorf("field \"expires_at\": %w", err)
	}
	deadline, err := parseDeadline(text)
	if err != nil {
		return fmt.Errorf("field \"expires_at\": %w: %q", err, cut(text, maxEchoBytes))
	}
	into.Deadline = deadline
	return nil
}

var errNotTime = errors.New("not a time as in RFC 3339, to the nanosecond")

// parseDeadline reads a time. Package time alone would let other forms pass, and drop a tenth digit.
func parseDeadline(text []byte) (time.Time, error) {
	var t time.Time
	if !isTime(text) || t.UnmarshalText(text) != nil {
		return t, errNotTime
	}
	if t.Before(firstDeadline) || t.After(lastDeadline) {
		return t, engine.ErrDeadline
	}
	return t.UTC(), nil
}

// isTime reports whether text has the form of a time in RFC 3339, with at most nine digits of a second.
func isTime(text []byte) bool {
	const date = "0000-00-00T00:00:00"
	if len(text) <= len(date) || !hasForm(text[:len(date)], date) {
		return false
	}
	rest := text[len(date):]
	if rest[0] == '.' {
		fraction := len(rest) - len(bytes.TrimLeft(rest[1:], "0123456789")) - 1
		if fraction < 1 || fraction > 9 {
			return false
		}
		rest = rest[1+fraction:]
	}
	if len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') {
		return hasForm(rest[1:], "00:00") && string(rest[1:3]) < "24" && string(rest[4:]) < "60"
	}
	return string(rest) == "Z"
}

// hasForm reports whether text is form, which is as long, but for a digit in the place of each 0.
func hasForm(text []byte, form string) bool {
	for i, c := range text {
		digit := '0' <= c && c <= '9'
		if form[i] == '0' && !digit || form[i] != '0' && c != form[i] {
			return false
		}
	}
	return true
}
