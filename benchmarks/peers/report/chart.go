package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes in a chart, in pixels.
const (
	chartWidth  = 760
	chartHeight = 360
	chartLeft   = 76
	chartRight  = 20
	chartTop    = 56 // of the title and the names of the lines
	chartBottom = 52
	dots        = 40 // points of a line up to which each is drawn as a dot, too
)

// chartStyle makes a chart readable on a light and on a dark page. It names colors outright: not every program that draws knows variables.
const chartStyle = `<style>
.ground{fill:#ffffff}text{fill:#1b1f24}.grid{stroke:#d5dae0}.axis{stroke:#1b1f24}
path{fill:none;stroke-width:2;stroke-linejoin:round}
.p0{stroke:#0b6e4f}.p1{stroke:#b5541c}.p2{stroke:#2b5fb3}.p3{stroke:#8a3fa0}
.d0{fill:#0b6e4f}.d1{fill:#b5541c}.d2{fill:#2b5fb3}.d3{fill:#8a3fa0}
@media (prefers-color-scheme:dark){
.ground{fill:#14181d}text{fill:#dde3ea}.grid{stroke:#39424d}.axis{stroke:#dde3ea}
.p0{stroke:#4cc79a}.p1{stroke:#f0985c}.p2{stroke:#7fb0f5}.p3{stroke:#d69be6}
.d0{fill:#4cc79a}.d1{fill:#f0985c}.d2{fill:#7fb0f5}.d3{fill:#d69be6}
}
</style>
`

// colors is how many lines differ by their color.
const colors = 4

// scale maps figures to pixels.
type scale struct {
	least, most float64
	from, to    float64 // pixels
	logarithmic bool
}

func (s *scale) at(v float64) float64 {
	least, most := s.least, s.most
	if s.logarithmic {
		v, least, most = math.Log(v), math.Log(least), math.Log(most)
	}
	if most == least {
		return (s.from + s.to) / 2
	}
	return s.from + (v-least)/(most-least)*(s.to-s.from)
}

// xScale spans all sizes.
func (c *Curve) xScale() *scale {
	at := c.at()
	s := &scale{from: chartLeft, to: chartWidth - chartRight, logarithmic: c.Doubles}
	if len(at) > 0 {
		s.least, s.most = at[0], at[len(at)-1]
	}
	s.logarithmic = s.logarithmic && s.least > 0
	return s
}

// yScale spans all figures: from zero on, or by powers of ten where they differ by much.
func (c *Curve) yScale() *scale {
	least, most := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, p := range l.Points {
			least, most = min(least, p.Y), max(most, p.Y)
		}
	}
	s := &scale{from: chartHeight - chartBottom, to: chartTop}
	if least > 0 && most/least > logRange/5 {
		s.logarithmic, s.least, s.most = true, math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
		return s
	}
	s.most = roundUp(most)
	return s
}

// roundUp is 1, 2, 2.5, 5 or 10 times a power of ten.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// ticks are where the axis of figures is labelled.
func (s *scale) ticks() []float64 {
	var ticks []float64
	if s.logarithmic {
		for v := s.least; v <= s.most*1.001; v *= 10 {
			ticks = append(ticks, v)
		}
		return ticks
	}
	const parts = 5
	for i := range parts + 1 {
		ticks = append(ticks, s.least+(s.most-s.least)*float64(i)/parts)
	}
	return ticks
}

// draw is the chart as a file.
func (c *Curve) draw() string {
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n%[3]s",
		chartWidth, chartHeight, chartStyle)
	fmt.Fprintf(&out, `<rect class="ground" width="100%%" height="100%%"/>`+"\n")
	x, y := c.xScale(), c.yScale()
	logarithmic := ""
	if y.logarithmic {
		logarithmic = ", logarithmic"
	}
	fmt.Fprintf(&out, `<text x="%d" y="20" font-weight="bold">%s (%s%s)</text>`+"\n", chartLeft, html.EscapeString(c.Name), html.EscapeString(c.Unit), logarithmic)
	c.drawAxes(&out, x, y)
	left := float64(chartLeft)
	for i, l := range c.Lines {
		color := i % colors
		fmt.Fprintf(&out, `<rect class="d%d" x="%.0f" y="32" width="12" height="8"/><text x="%.0f" y="40">%s</text>`+"\n", color, left, left+17, html.EscapeString(l.Name))
		left += 40 + 6.6*float64(len([]rune(l.Name)))
		l.draw(&out, x, y, color)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

func (c *Curve) drawAxes(out *strings.Builder, x, y *scale) {
	for _, v := range y.ticks() {
		at := y.at(v)
		fmt.Fprintf(out, `<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			x.from, at, x.to, at, x.from-6, at+4, number(v))
	}
	fmt.Fprintf(out, `<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", x.from, y.from, x.to, y.from)
	const apart = 44 // pixels from one label to the next at least
	last, ticks := math.Inf(-1), c.at()
	if len(ticks) > dots {
		ticks = x.ticks()
	}
	for _, v := range ticks {
		at := x.at(v)
		fmt.Fprintf(out, `<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, at, y.from, at, y.from+4)
		if at-last >= apart {
			last = at
			fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, at, y.from+18, html.EscapeString(c.size(v)))
		}
		out.WriteByte('\n')
	}
	fmt.Fprintf(out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", (x.from+x.to)/2, chartHeight-12, html.EscapeString(c.X))
}

func (l *Line) draw(out *strings.Builder, x, y *scale, color int) {
	var path strings.Builder
	for i, p := range l.Points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, x.at(p.X), y.at(p.Y))
	}
	fmt.Fprintf(out, `<path class="p%d" d="%s"/>`+"\n", color, path.String())
	if len(l.Points) > dots {
		return
	}
	for _, p := range l.Points {
		fmt.Fprintf(out, `<circle class="d%d" cx="%.1f" cy="%.1f" r="3"/>`, color, x.at(p.X), y.at(p.Y))
	}
	out.WriteByte('\n')
}
