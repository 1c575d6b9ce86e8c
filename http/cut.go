package http

import "unicode/utf8"

const (
	// maxEchoBytes bounds the text of an error that repeats what a body says.
	maxEchoBytes = 200
	// maxKeyEchoBytes is the size up to which the text of an error repeats a key whole.
	maxKeyEchoBytes = 1024

	ellipsis = "…"
)

// cut is text up to limit bytes, as a string: no more than that is copied. Beyond, it ends with an
// ellipsis, and not within a character.
func cut[T string | []byte](text T, limit int) string {
	if len(text) <= limit {
		return string(text)
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return string(text[:end]) + ellipsis
}
