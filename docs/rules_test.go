// Package docs_test holds the rules of the house: it compares the code with the table of imports, with the limits on
// files and functions, and with what the README and the pages here say.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	root   = ".."
	module = "github.com/tongpengdl/small-db/"
	xxhash = "github.com/cespare/xxhash/v2"
	unix   = "golang.org/x/sys/unix"
)

// room is a package and what its product files may import besides the standard library.
type room struct {
	floor   int
	ours    []string // packages of this module
	theirs  []string // packages of others
	netHTTP bool     // and net/http
	tests   []string // packages of this module that its tests may import as well
	support []string // support for tests that it may import: the product's own test of a disk needs the same faults and crashes
}

// rooms is the table of imports. An import leads to a lower floor, and only along this table.
var rooms = map[string]room{
	"format":                {floor: 0, theirs: []string{xxhash}},
	"mmapio":                {floor: 0, theirs: []string{unix}},
	"logrecord":             {floor: 1, ours: []string{"format"}, theirs: []string{xxhash}},
	"ckpt":                  {floor: 1, ours: []string{"format", "mmapio"}, theirs: []string{xxhash}},
	"engine":                {floor: 2, ours: []string{"format", "mmapio", "logrecord", "ckpt"}, theirs: []string{unix, xxhash}},
	"engine/inspect":        {floor: 3, ours: []string{"format", "mmapio", "ckpt"}, theirs: []string{unix}, tests: []string{"engine", "logrecord"}},
	"replicate":             {floor: 3, ours: []string{"format", "logrecord"}, theirs: []string{xxhash}},
	"http":                  {floor: 3, ours: []string{"engine", "format"}, netHTTP: true},
	"cmd/smalldb/reference": {floor: 3, ours: []string{"format"}},
	"cmd/smalldb/torture":   {floor: 3, ours: []string{"engine", "format", "mmapio"}, support: []string{"mmapio/mmapiotest"}},
	"cmd/smalldb": {
		floor: 4, ours: []string{"ckpt", "engine", "engine/inspect", "format", "http", "mmapio", "cmd/smalldb/reference", "cmd/smalldb/torture"},
		theirs: []string{"github.com/schollz/progressbar/v3", "golang.org/x/term"}, netHTTP: true, // as a client
	},
	"cmd/small_db_server":  {floor: 4, ours: []string{"engine", "format", "http", "mmapio", "replicate"}},
	"cmd/small_db_example": {floor: 4, ours: []string{"engine"}},
}

// beside are rooms that import what they like and are imported by nobody.
var beside = []string{"benchmarks", "docs", "fuzz", "fuzz/bugs"}

// testLibraries may be imported by tests, and by what is there for tests only.
var testLibraries = []string{"github.com/anishathalye/porcupine", "github.com/stretchr/testify/assert", "github.com/stretchr/testify/require", "pgregory.net/rapid"}

// file is a parsed Go file.
type file struct {
	path   string // from the root
	dir    string
	test   bool // its name ends with _test.go
	lines  int
	syntax *ast.File
}

// supportOf returns the room whose support for tests dir is: "engine" for engine/enginetest; "" if it is none.
func supportOf(dir string) string {
	if parent := path.Dir(dir); path.Base(dir) == path.Base(parent)+"test" {
		return parent
	}
	return ""
}

// product reports whether the file is part of what users build.
func (f *file) product() bool {
	return !f.test && supportOf(f.dir) == "" && !slices.Contains(beside, f.dir)
}

func (f *file) imports() []string {
	var paths []string
	for _, spec := range f.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

var fileSet = token.NewFileSet()

// readFiles parses all Go files of the module.
func readFiles(t *testing.T) []*file {
	t.Helper()
	var files []*file
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != root {
				return filepath.SkipDir // another module
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(fileSet, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		files = append(files, &file{
			path: relative, dir: path.Dir(relative), test: strings.HasSuffix(name, "_test.go"),
			lines: fileSet.File(syntax.FileStart).LineCount(), syntax: syntax,
		})
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// TestRooms: the table itself leads downward, and every room of the product is in it.
func TestRooms(t *testing.T) {
	for name, r := range rooms {
		for _, other := range r.ours {
			assert.Less(t, rooms[other].floor, r.floor, "%s to %s does not lead to a lower floor", name, other)
			assert.Contains(t, rooms, other)
		}
	}
	for _, f := range readFiles(t) {
		if f.product() {
			assert.Contains(t, rooms, f.dir, "%s: its package is not in the table of imports", f.path)
		}
	}
}

func TestImports(t *testing.T) {
	for _, f := range readFiles(t) {
		for _, imported := range f.imports() {
			if why := f.forbids(imported); why != "" {
				t.Errorf("%s imports %s: %s", f.path, imported, why)
			}
		}
	}
}

// forbids says why the file may not import a package; "" if it may.
//
// A test file may import, beyond what its room may: its own room and what that stands on, what the table adds, the support for tests of
// these, the libraries for tests, testing, net/http and x/sys. Support for tests follows the rule for tests of its room.
func (f *file) forbids(imported string) string {
	if slices.Contains(beside, f.dir) {
		return ""
	}
	forTests := !f.product()
	home := f.dir
	if support := supportOf(home); support != "" {
		home = support
	}
	here := rooms[home]
	ours, isOurs := strings.CutPrefix(imported, module)
	switch {
	case isOurs && slices.Contains(beside, ours):
		return "nobody imports what stands beside"
	case isOurs && !forTests && slices.Contains(here.support, ours):
	case isOurs && supportOf(ours) != "" && !forTests:
		return "it is there for tests only"
	case isOurs && forTests:
		if support := supportOf(ours); support != "" {
			ours = support
		}
		if ours != home && !standsOn(home, ours) && !slices.Contains(here.tests, ours) {
			return "it does not lead to a lower floor along the table"
		}
	case isOurs && !slices.Contains(here.ours, ours):
		return "the table has no such edge"
	case isOurs:
	case imported == "testing" && !forTests:
		return "only tests test"
	case imported == "net/http" && !here.netHTTP && !forTests:
		return "http is the one room that imports it"
	case !strings.Contains(strings.Split(imported, "/")[0], "."): // the standard library
	case slices.Contains(here.theirs, imported):
	case forTests && (slices.Contains(testLibraries, imported) || imported == unix || imported == xxhash):
	default:
		return "a dependency is chosen, not taken: see the table"
	}
	return ""
}

// standsOn reports whether a room imports another one, directly or not.
func standsOn(room, other string) bool {
	return slices.ContainsFunc(rooms[room].ours, func(next string) bool {
		return next == other || standsOn(next, other)
	})
}

// TestForbids makes sure that the test above can fail.
func TestForbids(t *testing.T) {
	for _, row := range []struct {
		file, imported string
		allowed        bool
	}{
		{"engine/a.go", module + "ckpt", true},
		{"engine/a.go", module + "http", false},
		{"engine/a.go", "net/http", false},
		{"engine/a.go", "testing", false},
		{"engine/a.go", "github.com/stretchr/testify/require", false},
		{"engine/a.go", module + "mmapio/mmapiotest", false},
		{"engine/a.go", "example.com/anything", false},
		{"engine/a_test.go", module + "mmapio/mmapiotest", true},
		{"engine/a_test.go", module + "engine/enginetest", true},
		{"engine/a_test.go", module + "http", false},
		{"engine/a_test.go", "example.com/anything", false},
		{"engine/enginetest/a.go", module + "engine", true},
		{"engine/enginetest/a.go", module + "http", false},
		{"ckpt/a_test.go", module + "engine", false},
		{"ckpt/a.go", module + "logrecord", false},
		{"format/a.go", module + "mmapio", false},
		{"http/a.go", "net/http", true},
		{"http/a.go", module + "replicate", false},
		{"http/a.go", module + "benchmarks", false},
		{"replicate/a.go", module + "engine", false},
		{"engine/inspect/a.go", module + "engine", false},
		{"engine/inspect/a_test.go", module + "engine/enginetest", true},
		{"cmd/smalldb/torture/a.go", module + "mmapio/mmapiotest", true},
		{"cmd/smalldb/torture/a.go", module + "engine/enginetest", false},
		{"cmd/smalldb/a.go", module + "mmapio/mmapiotest", false},
		{"cmd/small_db_server/a.go", "net/http", false},
		{"cmd/small_db_server/a.go", module + "engine", true},
	} {
		f := &file{path: row.file, dir: path.Dir(row.file), test: strings.HasSuffix(row.file, "_test.go")}
		assert.Equal(t, row.allowed, f.forbids(row.imported) == "", "%s imports %s", row.file, row.imported)
	}
}

// Limits on product files, in lines.
const (
	maxFileLines     = 500
	maxFunctionLines = 70
)

func TestSizes(t *testing.T) {
	for _, f := range readFiles(t) {
		if !f.product() {
			continue
		}
		assert.LessOrEqual(t, f.lines, maxFileLines, f.path)
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok {
				lines := fileSet.Position(function.End()).Line - fileSet.Position(function.Pos()).Line + 1
				assert.LessOrEqual(t, lines, maxFunctionLines, "%s: %s", f.path, function.Name)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	for _, f := range readFiles(t) {
		if !f.test {
			comments[f.dir] += 0
			if f.syntax.Doc != nil {
				comments[f.dir]++
			}
		}
	}
	for dir, n := range comments {
		assert.Equal(t, 1, n, "%s has %d package comments instead of one", dir, n)
	}
}

// unfinished is what a comment says that puts work off.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)

func TestNothingIsPutOff(t *testing.T) {
	for _, f := range readFiles(t) {
		for _, group := range f.syntax.Comments {
			assert.NotRegexp(t, unfinished, group.Text(), f.path)
		}
	}
	for _, page := range pages(t) {
		assert.NotRegexp(t, unfinished, page.text, page.name)
	}
}
