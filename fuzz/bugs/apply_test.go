package bugs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fewestBugs is how many bugs the catalogue has at least.
const fewestBugs = 36

// TestBugsApply: every bug can be seeded into the present product, and is a program.
func TestBugsApply(t *testing.T) {
	bugs := readBugs(t)
	require.GreaterOrEqual(t, len(bugs), fewestBugs)
	p := newProduct(t)
	for _, b := range bugs {
		changed, err := b.apply(readSource)
		if !assert.NoError(t, err) {
			continue
		}
		for file := range changed {
			assert.False(t, strings.HasSuffix(file, "_test.go"), "%s is a bug of the product", b.name)
		}
		assert.NoError(t, p.check(changed), b.name)
	}
	t.Logf("%d bugs can be seeded", len(bugs))
}

// product is what the packages of the module are made of.
type product struct {
	files    *token.FileSet
	packages map[string]*room  // by the directory from the root
	exports  map[string]string // files of compiled packages, by import path
	importer types.Importer
}

// room is a package.
type room struct {
	path  string
	files map[string]*ast.File // by the name from the root, without the bodies of functions
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Standard                bool
}

func newProduct(t *testing.T) *product {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Standard", "./...")
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	p := &product{files: token.NewFileSet(), packages: map[string]*room{}, exports: map[string]string{}}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		err := decoder.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		p.exports[l.ImportPath] = l.Export
		if dir, ours := strings.CutPrefix(l.ImportPath, module); ours {
			p.packages[dir] = p.parse(t, &l, dir)
		}
	}
	p.importer = importer.ForCompiler(p.files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(p.exports[path]) })
	return p
}

// parse reads the files of a package. What their functions do does not matter to other files.
func (p *product) parse(t *testing.T, l *listed, dir string) *room {
	t.Helper()
	r := &room{path: l.ImportPath, files: map[string]*ast.File{}}
	for _, name := range l.GoFiles {
		f, err := parser.ParseFile(p.files, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				f.Body = nil
			}
		}
		r.files[path.Join(dir, name)] = f
	}
	return r
}

// check type-checks the packages that some files were changed in.
func (p *product) check(changed map[string][]byte) error {
	rooms := map[string]map[string]*ast.File{}
	for name, source := range changed {
		dir := path.Dir(name)
		r := p.packages[dir]
		if r == nil || r.files[name] == nil {
			return fmt.Errorf("%s is no file of the product here", name)
		}
		f, err := parser.ParseFile(p.files, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if rooms[dir] == nil {
			rooms[dir] = maps.Clone(r.files)
		}
		rooms[dir][name] = f
	}
	for dir, files := range rooms {
		if err := p.checkRoom(p.packages[dir].path, files, changed); err != nil {
			return err
		}
	}
	return nil
}

func (p *product) checkRoom(importPath string, files map[string]*ast.File, changed map[string][]byte) error {
	var wrong error
	config := types.Config{Importer: p.importer, Error: func(err error) {
		var place types.Error
		if errors.As(err, &place) && changed[p.files.Position(place.Pos).Filename] != nil { // the others have lost their bodies
			wrong = errors.Join(wrong, err)
		}
	}}
	_, _ = config.Check(importPath, p.files, slices.Collect(maps.Values(files)), nil)
	return wrong
}

// TestBugsAreListed: docs/proof.md lists exactly the bugs of the catalogue, with a test that there is.
func TestBugsAreListed(t *testing.T) {
	table := readTable(t)
	for _, b := range readBugs(t) {
		r, listed := table[b.name]
		if !assert.True(t, listed, "%s does not list %s", page, b.name) {
			continue
		}
		delete(table, b.name)
		assert.Equal(t, b.what, r.what, "what %s says of %s", page, b.name)
		dir, test := splitTest(r.by)
		assert.True(t, hasTest(t, dir, test), "%s: there is no %s", b.name, r.by)
	}
	assert.Empty(t, table, "%s lists bugs that are not in the catalogue", page)
}

// splitTest takes package.Test apart.
func splitTest(name string) (dir, test string) {
	i := strings.LastIndexByte(name, '.')
	return name[:i], name[i+1:]
}

// hasTest reports whether a package has a test.
func hasTest(t *testing.T, dir, test string) bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	require.NoError(t, err)
	start := regexp.MustCompile(`(?m)^func ` + test + `\(`)
	return slices.ContainsFunc(names, func(name string) bool {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		return start.Match(text)
	})
}

// TestParseBug makes sure that the tests above can fail.
func TestParseBug(t *testing.T) {
	const text = "It is wrong.\n== a.go\n\told\n== instead\n\tnew\n== b.go\nx\n== instead\n"
	b, err := parseBug("name", text)
	require.NoError(t, err)
	require.Equal(t, &bug{"name", "It is wrong.", []edit{{"a.go", "\told\n", "\tnew\n"}, {"b.go", "x\n", ""}}}, b)

	for _, bad := range []string{
		"", "what\n", "what\n== a.go\nold\n", "what\nlines\n== a.go\nold\n== instead\n", "what\n== instead\nnew\n",
		"what\n== a.go\nold\n== instead\nnew\n== instead\nnew\n", "\n== a.go\nold\n== instead\nnew\n",
	} {
		_, err := parseBug("name", bad)
		assert.Error(t, err, bad)
	}

	read := func(a string) func(string) ([]byte, error) {
		return func(file string) ([]byte, error) {
			return []byte(map[string]string{"a.go": a, "b.go": "\nx\n"}[file]), nil
		}
	}
	changed, err := b.apply(read("first\n\told\nlast\n"))
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"a.go": []byte("first\n\tnew\nlast\n"), "b.go": []byte("\n")}, changed)
	for _, bad := range []string{"", "first\n\told\n\told\n", "first\n \told\n"} {
		_, err := b.apply(read(bad))
		assert.Error(t, err, bad)
	}
}
