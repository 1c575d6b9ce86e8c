package report

// Goal is what a ratio must reach.
type Goal struct {
	Name  string
	Bound float64
	Most  bool // the ratio must not exceed the bound; otherwise it must reach it
	Means string
}

// Goals are those of the project, in the order in which they are printed.
var Goals = []Goal{
	{Name: "set_1_vs_rawpwrite", Bound: 0.95, Means: "durable sets, 1 writer: ours / bare pwrite loop"},
	{Name: "set_64_vs_bareloop", Bound: 0.7, Means: "durable sets, 64 writers: ours / bare group commit"},
	{Name: "set_64_vs_pebble", Bound: 2, Means: "durable sets, 64 writers: ours / pebble"},
	{Name: "set_256_vs_pebble", Bound: 3, Means: "durable sets, 256 writers: ours / pebble"},
	{Name: "get_2_vs_rwmap", Bound: 1.3, Means: "random gets, 2 goroutines: ours, the worse of base and delta / map + RWMutex"},
	{Name: "get_2_vs_lmdb", Bound: 2.5, Means: "random gets, 2 goroutines: ours, the worse of base and delta / LMDB"},
	{Name: "open_1m_ms", Bound: 2, Most: true, Means: "open to first get after a clean close, 1 M keys, ms"},
	{Name: "open_10m_ms", Bound: 5, Most: true, Means: "open to first get after a clean close, 10 M keys, ms"},
	{Name: "heap_objects_1m", Bound: 20_000, Most: true, Means: "live heap objects, 1 M keys"},
	{Name: "rss_per_data_1m", Bound: 1.3, Most: true, Means: "resident memory / bytes of keys and values, 1 M keys"},
	{Name: "ckpt_p999_ratio", Bound: 2, Most: true, Means: "p99.9 of sets with checkpoints / without"},
}

// Reached reports whether a value is good enough.
func (g Goal) Reached(value float64) bool {
	if g.Most {
		return value <= g.Bound
	}
	return value >= g.Bound
}

// sign is how the value stands to the bound when it is reached.
func (g Goal) sign() string {
	if g.Most {
		return "<="
	}
	return ">="
}

// verdict is the ratio against its bound, in a word.
func (r *Results) verdict(g Goal) string {
	value, ok := r.Ratios[g.Name]
	switch {
	case !ok:
		return "not measured"
	case g.Reached(value):
		return "reached"
	}
	return "MISSED"
}
