package engine_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/mmapio/mmapiotest"
)

// productCall is a place in the product where a call of a method of mmapio.Dir or mmapio.File comes from.
type productCall struct {
	line  string            // file:line, as mmapiotest.Site.Line has it
	also  []string          // other lines that the runtime may name instead
	what  string            // "(*DB).rotate: Dir.Rename"; numbered if the function has several such calls
	kinds []mmapiotest.Kind // what is recorded of it
}

// productCallSites lists every place in packages engine, ckpt and logrecord that a recorded call can come from: file:line to the
// function and the methods that are called there. That is where a method of mmapio.Dir or mmapio.File is called, or one of
// an interface that they implement, and where package mmapio is called if it calls such a method. What makes no system call (Path, Name and
// Fd) is not recorded and not listed.
func productCallSites(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range listCalls(t) {
		if before := out[c.line]; before != "" {
			out[c.line] = before + "; " + c.what
		} else {
			out[c.line] = c.what
		}
	}
	return out
}

func listCalls(t testing.TB) []productCall {
	t.Helper()
	listed := callList()
	require.NoError(t, listed.err)
	return listed.calls
}

// siteSet is places that a test has hit: file:line, and file:line with the kind of the call.
type siteSet map[string]bool

// add notes a place. Any call on its line counts as hit.
func (s siteSet) add(site mmapiotest.Site) { s[site.Line] = true }

// addOp notes the place of a call. Of several calls on its line those of this kind count as hit.
func (s siteSet) addOp(op mmapiotest.Op) { s[op.Site.Line+" "+op.Kind.String()] = true }

// hits reports whether a call is one of the set.
func (s siteSet) hits(c *productCall) bool {
	for _, line := range append([]string{c.line}, c.also...) {
		if s[line] || slices.ContainsFunc(c.kinds, func(k mmapiotest.Kind) bool { return s[line+" "+k.String()] }) {
			return true
		}
	}
	return false
}

// requireAllSites demands that a test has hit every place of productCallSites but those that it excepts: "function: method" to
// the reason. An exception that is not needed fails, and so does a hit that the list does not know.
func requireAllSites(t testing.TB, hit siteSet, except map[string]string) {
	t.Helper()
	missed, unknown := compareSites(listCalls(t), hit, except)
	assert.Empty(t, missed, "places in the product, or exceptions that are not needed")
	assert.Empty(t, unknown, "these are not in the list of calls")
}

// compareSites returns what requireAllSites finds wrong.
func compareSites(calls []productCall, hit siteSet, except map[string]string) (missed, unknown []string) {
	needed, known := map[string]bool{}, map[string]bool{}
	for i := range calls {
		c := &calls[i]
		known[c.line] = true
		for _, line := range c.also {
			known[line] = true
		}
		switch {
		case hit.hits(c):
		case except[c.what] != "":
			needed[c.what] = true
		default:
			missed = append(missed, fmt.Sprintf("%s (%s) was not hit", c.what, c.line))
		}
	}
	for what := range except {
		if !needed[what] {
			missed = append(missed, fmt.Sprintf("the exception %q is not needed: it was hit, or there is no such call", what))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(hit)) {
		line, _, _ := strings.Cut(key, " ")
		room, _, _ := strings.Cut(line, "/")
		if slices.Contains(callingPackages, room) && !strings.Contains(line, "_test.go:") && !known[line] {
			unknown = append(unknown, key)
		}
	}
	return missed, unknown
}

// module is the path of the module; the tests run in one of its directories.
const module = "github.com/tongpengdl/small-db/"

// callingPackages are those in which the calls are listed, in the order in which they import each other.
var callingPackages = []string{"logrecord", "ckpt", "engine"}

// recordedMethods are the methods that a Recorder sees.
var recordedMethods = map[string]mmapiotest.Kind{
	"Dir.Names": mmapiotest.Names, "Dir.Open": mmapiotest.Open, "Dir.Create": mmapiotest.Create, "Dir.Rename": mmapiotest.Rename,
	"Dir.Remove": mmapiotest.Remove, "Dir.Sync": mmapiotest.SyncDir, "Dir.Lock": mmapiotest.LockDir, "Dir.Close": mmapiotest.CloseDir,
	"File.Size": mmapiotest.Size, "File.ReadAt": mmapiotest.ReadAt, "File.WriteAt": mmapiotest.WriteAt, "File.Flush": mmapiotest.Flush,
	"File.Sync": mmapiotest.Sync, "File.Evict": mmapiotest.Evict, "File.Close": mmapiotest.CloseFile,
}

// silentMethods make no system call.
var silentMethods = []string{"Dir.Path", "File.Name", "File.Fd"}

// callList is the list, made once: to check the types of what the product imports takes a second.
var callList = sync.OnceValue(func() (out struct {
	calls []productCall
	err   error
}) {
	l := &callLister{fset: token.NewFileSet(), done: map[string]*checkedPackage{}}
	l.std = importer.ForCompiler(l.fset, "source", nil).(types.ImporterFrom)
	out.err = l.list()
	out.calls = l.calls
	return out
})

// callLister finds the calls.
type callLister struct {
	fset   *token.FileSet
	std    types.ImporterFrom
	done   map[string]*checkedPackage         // of this module, by path
	kinds  map[*types.Func][]mmapiotest.Kind  // of the methods of Dir and File, and of the functions of package mmapio that call them
	values map[types.Object][]mmapiotest.Kind // of the variables and fields that hold such a method
	names  map[*types.Func]string             // of those in kinds
	ifaces map[string]*types.Interface        // Dir and File
	around *types.Named                       // mmapio.Around
	seen   map[string][]int                   // calls by what they are, to number them
	calls  []productCall
}

// checkedPackage is a package of this module with its syntax.
type checkedPackage struct {
	pkg   *types.Package
	files []*ast.File
	info  *types.Info
}

// Import is what the type checker asks for a package.
func (l *callLister) Import(pkgPath string) (*types.Package, error) {
	room, ours := strings.CutPrefix(pkgPath, module)
	if !ours {
		return l.std.ImportFrom(pkgPath, ".", 0)
	}
	c, err := l.check(room)
	if err != nil {
		return nil, err
	}
	return c.pkg, nil
}

// check parses and type-checks a package of this module, as it is built here.
func (l *callLister) check(room string) (*checkedPackage, error) {
	if c := l.done[room]; c != nil {
		return c, nil
	}
	dir := filepath.Join("..", room)
	from, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	c := &checkedPackage{info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}}
	for _, name := range from.GoFiles {
		f, err := parser.ParseFile(l.fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	conf := types.Config{Importer: l}
	if c.pkg, err = conf.Check(module+room, l.fset, c.files, c.info); err != nil {
		return nil, err
	}
	l.done[room] = c
	return c, nil
}

func (l *callLister) list() error {
	under, err := l.check("mmapio")
	if err != nil {
		return err
	}
	if err := l.readMethods(under); err != nil {
		return err
	}
	l.readFunctions(under)
	l.values, l.seen = map[types.Object][]mmapiotest.Kind{}, map[string][]int{}
	for _, room := range callingPackages {
		c, err := l.check(room)
		if err != nil {
			return err
		}
		l.findValues(c)
		for _, f := range c.files {
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
					w := callWalk{callLister: l, pkg: c, function: functionName(c, fn)}
					w.walk(fn.Body, fn.Body)
				}
			}
		}
	}
	for what, calls := range l.seen {
		for i, n := range calls {
			if len(calls) > 1 {
				l.calls[n].what = fmt.Sprintf("%s, number %d", what, i+1)
			}
		}
	}
	return nil
}

// readMethods finds the methods of Dir and File. Each must be known to be recorded or to be silent.
func (l *callLister) readMethods(under *checkedPackage) error {
	l.kinds, l.names, l.ifaces = map[*types.Func][]mmapiotest.Kind{}, map[*types.Func]string{}, map[string]*types.Interface{}
	for _, name := range []string{"Dir", "File"} {
		face := under.pkg.Scope().Lookup(name).Type().Underlying().(*types.Interface)
		l.ifaces[name] = face
		for m := range face.Methods() {
			what := name + "." + m.Name()
			if kind, recorded := recordedMethods[what]; recorded {
				l.kinds[m], l.names[m] = []mmapiotest.Kind{kind}, what
			} else if !slices.Contains(silentMethods, what) {
				return fmt.Errorf("is mmapio.%s recorded? say so in recordedMethods or silentMethods", what)
			}
		}
	}
	l.around = under.pkg.Scope().Lookup("Around").Type().(*types.Named)
	return nil
}

// readFunctions finds the functions of package mmapio that call such methods, directly or not.
func (l *callLister) readFunctions(under *checkedPackage) {
	for changed := true; changed; {
		changed = false
		for _, f := range under.files {
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				self := under.info.Defs[fn.Name].(*types.Func)
				before := len(l.kinds[self])
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					if call, ok := n.(*ast.CallExpr); ok {
						l.addKinds(self, l.kinds[calledFunc(under.info, call)])
					}
					return true
				})
				if len(l.kinds[self]) > before {
					changed, l.names[self] = true, "mmapio."+functionName(under, fn)
				}
			}
		}
	}
}

func (l *callLister) addKinds(fn *types.Func, kinds []mmapiotest.Kind) {
	for _, k := range kinds {
		if !slices.Contains(l.kinds[fn], k) {
			l.kinds[fn] = append(l.kinds[fn], k)
		}
	}
}

// calledFunc is the function or method that is called; nil if that is a variable.
func calledFunc(info *types.Info, call *ast.CallExpr) *types.Func {
	fn, _ := calledObject(info, call).(*types.Func)
	return fn
}

func calledObject(info *types.Info, call *ast.CallExpr) types.Object {
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return info.Uses[f]
	case *ast.SelectorExpr:
		return info.Uses[f.Sel]
	}
	return nil
}

// kindsOf is what is recorded of a call, and its name; "" if nothing is.
func (l *callLister) kindsOf(info *types.Info, call *ast.CallExpr) ([]mmapiotest.Kind, string) {
	object := calledObject(info, call)
	if kinds := l.values[object]; kinds != nil {
		return kinds, object.Name()
	}
	if l.opensDir(object) {
		return []mmapiotest.Kind{mmapiotest.OpenDir}, object.Name()
	}
	fn, ok := object.(*types.Func)
	if !ok {
		return nil, ""
	}
	if name := l.names[fn]; name != "" {
		return l.kinds[fn], name
	}
	receiver := fn.Signature().Recv()
	if receiver == nil {
		return nil, ""
	}
	face, ok := receiver.Type().Underlying().(*types.Interface)
	if !ok {
		return nil, ""
	}
	for _, of := range []string{"Dir", "File"} { // io.ReaderAt, say
		what := of + "." + fn.Name()
		if kind, recorded := recordedMethods[what]; recorded && types.Implements(l.ifaces[of], face) {
			return []mmapiotest.Kind{kind}, what
		}
	}
	return nil, ""
}

// opensDir reports whether an object is a variable that holds an OpenDir.
func (l *callLister) opensDir(object types.Object) bool {
	v, ok := object.(*types.Var)
	if !ok {
		return false
	}
	s, ok := v.Type().Underlying().(*types.Signature)
	return ok && s.Results().Len() == 2 && s.Results().At(0).Type().Underlying() == types.Type(l.ifaces["Dir"])
}

// findValues finds the fields and variables that are given a method of a Dir or a File as a value: to call them is to call it.
func (l *callLister) findValues(c *checkedPackage) {
	note := func(to, from ast.Expr) {
		value, ok := ast.Unparen(from).(*ast.SelectorExpr)
		if !ok {
			return
		}
		fn, ok := c.info.Uses[value.Sel].(*types.Func)
		if !ok || l.names[fn] == "" {
			return
		}
		switch to := to.(type) {
		case *ast.Ident:
			if object := c.info.ObjectOf(to); object != nil {
				l.values[object] = append(l.values[object], l.kinds[fn]...)
			}
		case *ast.SelectorExpr:
			l.values[c.info.Uses[to.Sel]] = append(l.values[c.info.Uses[to.Sel]], l.kinds[fn]...)
		}
	}
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				note(n.Key, n.Value)
			case *ast.AssignStmt:
				if len(n.Lhs) == len(n.Rhs) {
					for i := range n.Lhs {
						note(n.Lhs[i], n.Rhs[i])
					}
				}
			}
			return true
		})
	}
}

// callWalk collects the calls of one function.
type callWalk struct {
	*callLister
	pkg      *checkedPackage
	function string
}

// walk collects the calls in a node. body is that of the innermost function, which may be a literal.
func (w callWalk) walk(n ast.Node, body *ast.BlockStmt) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			w.walk(n.Body, n.Body)
			return false
		case *ast.DeferStmt:
			w.add(n.Call, w.ends(n, body))
			for _, arg := range n.Call.Args {
				w.walk(arg, body)
			}
			w.walk(n.Call.Fun, body)
			return false
		case *ast.CallExpr:
			w.add(n, nil)
		}
		return true
	})
}

// add adds a call if anything is recorded of it.
func (w callWalk) add(call *ast.CallExpr, ends []string) {
	kinds, name := w.kindsOf(w.pkg.info, call)
	if name == "" {
		return
	}
	c := productCall{line: w.line(call.Pos()), also: ends, what: w.function + ": " + name, kinds: kinds}
	for pos := call.Pos(); pos <= call.End(); pos++ { // a call of several lines
		if line := w.line(pos); line != c.line && !slices.Contains(c.also, line) {
			c.also = append(c.also, line)
		}
	}
	w.seen[c.what] = append(w.seen[c.what], len(w.calls))
	w.calls = append(w.calls, c)
}

// ends are the lines at which a deferred call may be said to run: where its function returns after it.
func (w callWalk) ends(deferred *ast.DeferStmt, body *ast.BlockStmt) []string {
	lines := []string{w.line(body.Rbrace)}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			if n.Pos() > deferred.Pos() {
				lines = append(lines, w.line(n.Pos()), w.line(n.End()))
			}
		}
		return true
	})
	return lines
}

func (w callWalk) line(pos token.Pos) string {
	p := w.fset.Position(pos)
	return fmt.Sprintf("%s:%d", path.Join(w.pkg.pkg.Name(), filepath.Base(p.Filename)), p.Line)
}

// functionName is the name of a function, without its package: "(*DB).rotate".
func functionName(c *checkedPackage, fn *ast.FuncDecl) string {
	full := c.info.Defs[fn.Name].(*types.Func).FullName()
	return strings.ReplaceAll(full, c.pkg.Path()+".", "")
}

// The list is right: it has the calls that are known, and everything that a run has recorded.
func TestProductCallSites(t *testing.T) {
	listed := map[string]bool{}
	for line, what := range productCallSites(t) {
		listed[what] = true
		t.Logf("%s %s", line, what)
	}
	for _, what := range []string{
		"(*DB).baptise: Dir.Rename", "(*DB).load: Dir.Lock", "newDB: OpenDir", // directly
		"(*spares).make: mmapio.Prepare", "toFile: mmapio.WritePieces", "verifyCheckpoint: mmapio.OpenAround", // through a function
		"verifyCheckpoint: mmapio.(*Around).Close", "readFull: File.ReadAt", "(interruptible).ReadAt: File.ReadAt", // through an interface
		"(*Builder).finish: sync",                                        // a method as a value
		"(*liveLog).close: File.Close, number 2", "fileSize: File.Close", // one of two, and a deferred one
	} {
		assert.Contains(t, listed, what)
	}
	assert.Greater(t, len(listed), 80)

	hit := siteSet{}
	for _, op := range recordCrashRun(t, engine.SyncDsync, 1).trace {
		hit.addOp(op)
	}
	_, unknown := compareSites(listCalls(t), hit, nil)
	require.Empty(t, unknown)
}

// requireAllSites can fail.
func TestRequireAllSites(t *testing.T) {
	calls := []productCall{
		{line: "engine/a.go:1", what: "f: Dir.Sync", kinds: []mmapiotest.Kind{mmapiotest.SyncDir}},
		{line: "engine/a.go:2", also: []string{"engine/a.go:3"}, what: "f: File.Close", kinds: []mmapiotest.Kind{mmapiotest.CloseFile}},
		{line: "engine/a.go:3", what: "f: File.Size", kinds: []mmapiotest.Kind{mmapiotest.Size}},
	}
	op := func(kind mmapiotest.Kind, line string) mmapiotest.Op {
		return mmapiotest.Op{Kind: kind, Site: mmapiotest.Site{Line: line}}
	}
	hit := siteSet{}
	hit.addOp(op(mmapiotest.CloseFile, "engine/a.go:3"))
	hit.addOp(op(mmapiotest.Names, "mmapiotest/x.go:1"))
	missed, unknown := compareSites(calls, hit, nil)
	require.Len(t, missed, 2, "what is deferred does not count for what is on the line")
	require.Empty(t, unknown)
	missed, _ = compareSites(calls, hit, map[string]string{"f: Dir.Sync": "why", "f: File.Size": "why"})
	require.Empty(t, missed)
	missed, _ = compareSites(calls, hit, map[string]string{"f: Dir.Sync": "why", "f: File.Size": "why", "f: File.Close": "why"})
	require.Len(t, missed, 1, "not needed")
	hit.add(mmapiotest.Site{Line: "engine/a.go:1"})
	hit.add(mmapiotest.Site{Line: "engine/a.go:3"})
	hit.add(mmapiotest.Site{Line: "engine/a.go:4"})
	missed, unknown = compareSites(calls, hit, nil)
	require.Empty(t, missed)
	require.Equal(t, []string{"engine/a.go:4"}, unknown)
}
