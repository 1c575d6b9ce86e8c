// Package bugs_test shows that the tests can fail. Each file of testdata is a slip that a programmer could make in the product. It is
// seeded from outside (go build -overlay), so the product has no switches, and the ordinary suite, which knows nothing of it, must fail.
// docs/proof.md says which test does.
//
//	what is wrong, in one line
//	== engine/log.go
//	lines of that file
//	== instead
//	lines to put in their place, perhaps none
//
// A file may change several places, each in what the ones before it have left. TestBugsApply holds that every bug can still be seeded: where a change of the
// product moves the lines, the bug moves with them. Whether the suite finds them takes hours to see, and is seen with
//
//	SMALLDB_TEST_LONG=1 go test -timeout 0 -v -run TestBugsAreCaught ./fuzz/bugs
//
// or, of one bug, with -run 'TestBugsAreCaught/NAME$'. The test that docs/proof.md names comes first, and the rest of the suite only if that does not fail;
// with SMALLDB_TEST_LONG=2 the whole suite decides.
package bugs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "github.com/tongpengdl/small-db/"
)

// bug is a slip in the product.
type bug struct {
	name  string
	what  string
	edits []edit
}

// edit puts lines in the place of others.
type edit struct {
	file     string // from the root
	old, new string
}

const (
	editMark    = "== "
	insteadMark = "instead"
)

// parseBug reads a file of testdata.
func parseBug(name, text string) (*bug, error) {
	what, rest, _ := strings.Cut(text, "\n")
	b := &bug{name: name, what: what}
	var into *string
	for line := range strings.Lines(rest) {
		mark, isMark := strings.CutPrefix(strings.TrimSuffix(line, "\n"), editMark)
		switch {
		case !isMark && into == nil:
			return nil, fmt.Errorf("%s: %q belongs to no file", name, line)
		case !isMark:
			*into += line
		case mark != insteadMark:
			b.edits = append(b.edits, edit{file: mark})
			into = &b.edits[len(b.edits)-1].old
		case len(b.edits) == 0 || into != &b.edits[len(b.edits)-1].old:
			return nil, fmt.Errorf("%s: nothing for %q to take the place of", name, insteadMark)
		default:
			into = &b.edits[len(b.edits)-1].new
		}
	}
	if what == "" || len(b.edits) == 0 || into != &b.edits[len(b.edits)-1].new {
		return nil, fmt.Errorf("%s: what is wrong, a file, its lines and those instead are needed", name)
	}
	return b, nil
}

// readBugs reads the catalogue, by name.
func readBugs(t *testing.T) []*bug {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	var bugs []*bug
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		b, err := parseBug(strings.TrimSuffix(filepath.Base(name), ".txt"), string(text))
		require.NoError(t, err)
		bugs = append(bugs, b)
	}
	return bugs
}

// apply returns the files that the bug is in, changed, by their names from the root. read returns the present ones.
func (b *bug) apply(read func(file string) ([]byte, error)) (map[string][]byte, error) {
	changed := map[string][]byte{}
	for _, e := range b.edits {
		source, again := changed[e.file]
		if !again {
			var err error
			if source, err = read(e.file); err != nil {
				return nil, err
			}
		}
		if e.old == "" || e.old == e.new {
			return nil, fmt.Errorf("%s: it changes nothing of %s", b.name, e.file)
		}
		places := findLines(source, []byte(e.old))
		if len(places) != 1 {
			return nil, fmt.Errorf("%s: %s has its lines %d times:\n%s", b.name, e.file, len(places), e.old)
		}
		changed[e.file] = slices.Concat(source[:places[0]], []byte(e.new), source[places[0]+len(e.old):])
	}
	return changed, nil
}

// findLines returns the offsets of all places in a source that have these lines.
func findLines(source, lines []byte) (places []int) {
	for at := range source {
		if (at == 0 || source[at-1] == '\n') && bytes.HasPrefix(source[at:], lines) {
			places = append(places, at)
		}
	}
	return places
}

func readSource(file string) ([]byte, error) { return os.ReadFile(filepath.Join(root, file)) }

// overlay writes the changed files, and what tells the go command to build them instead of those that are there. It returns the name
// of the latter, for the flag -overlay.
func (b *bug) overlay(t *testing.T) string {
	t.Helper()
	changed, err := b.apply(readSource)
	require.NoError(t, err)
	base, err := filepath.Abs(root)
	require.NoError(t, err)
	dir := t.TempDir()
	replace := map[string]string{}
	for file, source := range changed {
		copied := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		require.NoError(t, os.WriteFile(copied, source, 0o600))
		replace[filepath.Join(base, filepath.FromSlash(file))] = copied
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	name := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(name, text, 0o600))
	return name
}

// caught is a row of the table in docs/proof.md.
type caught struct {
	what string
	by   string // package.Test
}

const page = root + "/docs/proof.md"

// row is one of the table: | `name` | what | `package.Test` |
var row = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.+) \\| `([a-z_/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)` \\|$")

// readTable returns the rows by the names of the bugs.
func readTable(t *testing.T) map[string]caught {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Seeded bugs\n")
	require.True(t, found, "%s has a section of seeded bugs", page)
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string]caught{}
	for _, r := range row.FindAllStringSubmatch(section, -1) {
		require.NotContains(t, table, r[1])
		table[r[1]] = caught{r[2], r[3] + "." + r[4]}
	}
	return table
}
