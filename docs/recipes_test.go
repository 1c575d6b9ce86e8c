package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var recipe = regexp.MustCompile(`(?ms)^\t// recipe: \w+\n(.*?)^\t// end$`)

// The recipes of the page on embedding are the bodies of examples, which run, and none of those is left out.
func TestRecipesAreExamples(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "engine", "recipes_test.go"))
	require.NoError(t, err)
	page, err := os.ReadFile("embedding.md")
	require.NoError(t, err)
	var blocks []string
	for _, found := range fence.FindAllStringSubmatch(string(page), -1) {
		if found[1] == "go" && !strings.Contains(found[2], "engine.Open(engine.Options{Dir: \"data\"") {
			blocks = append(blocks, found[2])
		}
	}
	var recipes []string
	for _, found := range recipe.FindAllStringSubmatch(string(source), -1) {
		recipes = append(recipes, regexp.MustCompile(`(?m)^\t`).ReplaceAllString(found[1], ""))
	}
	require.NotEmpty(t, recipes)
	assert.ElementsMatch(t, recipes, blocks)
}
