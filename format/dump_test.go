package format_test

import (
	"bytes"
	"fmt"
	"strings"
)

// dump writes an image as hexdump does, 8 bytes a line, with what each field is and says. Of a longer run of
// zeros only the first line is shown, and a * for the rest. It shows the bytes, never what was to be written.
func (m *image) dump() string {
	var out strings.Builder
	for _, p := range m.parts {
		if p.title != "" {
			fmt.Fprintf(&out, "\n%s\n", p.title)
		}
		for _, f := range p.fields {
			if f.size > 0 {
				dumpField(&out, p.at+f.at, m.bytes[p.at+f.at:][:f.size], f)
			}
		}
	}
	fmt.Fprintf(&out, "%08x\n", len(m.bytes))
	return strings.TrimPrefix(out.String(), "\n")
}

func dumpField(out *strings.Builder, at int, b []byte, f field) {
	meaning := strings.TrimSpace(f.name + " " + f.show(b))
	if len(b) > 8 && bytes.Count(b, []byte{0}) == len(b) {
		fmt.Fprintf(out, "%08x  % x  %s, %d bytes\n*\n", at, b[:8], meaning, len(b))
		return
	}
	for ; len(b) > 8; b, at, meaning = b[8:], at+8, "" {
		fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("%08x  % x  %s", at, b[:8], meaning)))
	}
	line := fmt.Sprintf("%08x  %-23s  %s", at, fmt.Sprintf("% x", b), meaning)
	fmt.Fprintln(out, strings.TrimRight(line, " "))
}
