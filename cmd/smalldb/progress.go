package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// How often progress is shown.
const (
	progressAfter   = time.Second            // no line before
	progressBar     = 200 * time.Millisecond // no bar before
	progressRefresh = 100 * time.Millisecond // of a bar
	progressLines   = 5 * time.Second        // between lines, where there is no terminal

	minPart = 0.01 // of the whole: before, nothing is said of what is left
)

// progress shows on standard error how far something is: with a bar on a terminal, else in lines now and then. Nothing is shown
// of what takes no time, see progressAfter and progressBar. It is for one goroutine at a time. It has no goroutine of its own.
type progress struct {
	c       *call
	verb    string
	unit    string // what is counted; "bytes" are shown with larger units
	total   int64  // of done, see at; 0 if it is not known
	off     bool
	width   int // of the terminal, in columns; 0 if there is none
	started time.Time
	shown   time.Time // zero while nothing was
	bar     *progressbar.ProgressBar
	drawn   int64 // position of the bar
}

// progress begins to watch a verb that counts in unit, and ends when its position reaches total.
func (c *call) progress(verb, unit string, total int64) *progress {
	p := &progress{c: c, verb: verb, unit: unit, total: total, off: c.quiet || c.json, started: c.now()}
	if !p.off && c.isTerminal(c.stderr) && c.getenv("TERM") != "dumb" {
		p.width = c.width()
	}
	if p.terminal() {
		p.bar = p.newBar()
	}
	return p
}

// Widths of terminals, in columns.
const (
	defaultWidth = 80
	fullWidth    = 80 // has room for a bar and all figures
	leastWidth   = 60 // has room for a bar, without totals and words
)

// width is that of the terminal.
func (c *call) width() int {
	if f, ok := c.stderr.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// terminal reports whether there is one that has room for a bar.
func (p *progress) terminal() bool { return p.width >= leastWidth }

// newBar makes a bar whose clock runs. It is drawn by the first call of at that lets it.
func (p *progress) newBar() *progressbar.ProgressBar {
	total := p.total
	if total == 0 {
		total = -1
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(p.c.stderr), progressbar.OptionSetDescription(p.verb),
		progressbar.OptionSetTheme(progressbar.ThemeASCII), progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionShowCount(),
		progressbar.OptionShowTotalBytes(p.total > 0 && p.width >= fullWidth),
	}
	switch {
	case p.inBytes():
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true))
	case p.width >= fullWidth:
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(p.unit))
	}
	bar := progressbar.NewOptions64(total, options...)
	bar.StartWithoutRender()
	return bar
}

// inBytes reports whether the position is counted in bytes. That of lines is: how many there are is not known before the end.
func (p *progress) inBytes() bool { return p.unit == "bytes" || p.unit == "lines" }

// at says that the position is done, which total belongs to, after count units.
func (p *progress) at(done, count int64) {
	if p.off {
		return
	}
	now := p.c.now()
	first, interval, since := progressAfter, progressLines, p.shown
	if p.terminal() {
		first, interval = progressBar, progressRefresh
	}
	if since.IsZero() {
		interval, since = first, p.started
	}
	if now.Sub(since) < interval {
		return
	}
	if p.terminal() {
		p.draw(now, done, count)
		return
	}
	p.shown = now
	fmt.Fprintf(p.c.stderr, "%s: %s\n", p.verb, p.line(now.Sub(p.started), done, count))
}

// draw draws the bar once: what it says of lines, whose bytes alone it knows, is set by an option, since Describe would draw it, too.
func (p *progress) draw(now time.Time, done, count int64) {
	if done == p.drawn { // without a rate, there is no telling what is left
		return
	}
	p.shown, p.drawn = now, done
	if p.unit == "lines" && p.width >= fullWidth {
		progressbar.OptionSetDescription(p.verb + ": " + p.counted(count))(p.bar)
	}
	_ = p.bar.Set64(done)
}

// line is progress after a time in words.
func (p *progress) line(took time.Duration, done, count int64) string {
	words := p.counts(took, count)
	if part := min(1, float64(done)/float64(max(p.total, 1))); p.total > 0 && part >= minPart {
		left := time.Duration(float64(took) * (1 - part) / part)
		words += fmt.Sprintf(", %.0f %%, %v left", 100*part, left.Round(time.Second))
	}
	return words
}

// counts is how many there are after a time, and the rate.
func (p *progress) counts(took time.Duration, count int64) string {
	return fmt.Sprintf("%s, %s/s", p.counted(count), p.number(int64(float64(count)/took.Seconds())))
}

func (p *progress) counted(count int64) string {
	if p.unit == "bytes" {
		return p.number(count)
	}
	return fmt.Sprintf("%d %s", count, p.unit)
}

func (p *progress) number(n int64) string {
	if p.unit == "bytes" {
		return byteText(n)
	}
	return fmt.Sprint(n)
}

// byteText is a number of bytes for people.
func byteText(n int64) string {
	value, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil && !p.shown.IsZero() {
		_ = p.bar.Clear()
	}
}

// of says how many of how many are done, where the total was not known before.
func (p *progress) of(done, total int64) {
	if p.total != total {
		p.total = total
		switch {
		case p.bar == nil:
		case p.shown.IsZero():
			p.bar = p.newBar()
		default:
			p.bar.ChangeMax64(total)
		}
	}
	p.at(done, done)
}
