package main

import (
	"strconv"
	"strings"

	"github.com/tongpengdl/small-db/engine"
)

// conditions are what must hold of a key for a write to happen.
type conditions struct {
	absent, present bool
	version         *engine.Version
	value           *string
}

// newConditions adds the flags of conditions. Those that a delete cannot meet are left out.
func newConditions(c *call, forDelete bool) *conditions {
	w := &conditions{}
	if !forDelete {
		c.flags.BoolVar(&w.absent, "if-absent", false, "only if the key is not set")
	}
	c.flags.BoolVar(&w.present, "if-present", false, "only if the key is set")
	c.flags.Func("if-version", "only if the `version` of the key, EPOCH.SEQ, is this; get -json tells it", w.setVersion)
	c.flags.Func("if-value", "only if the `value` of the key is this", func(text string) error {
		w.value = &text
		return nil
	})
	return w
}

func (w *conditions) setVersion(text string) error {
	v, err := parseVersion(text)
	w.version = &v
	return err
}

// check refuses what no key can meet.
func (w *conditions) check() error {
	if w.absent && (w.present || w.value != nil) {
		return usage("-if-absent does not go with -if-present or -if-value")
	}
	return nil
}

func (w *conditions) any() bool {
	return w.absent || w.present || w.version != nil || w.value != nil
}

// add adds the conditions on key to a batch.
func (w *conditions) add(b *engine.Batch, key []byte) {
	if w.absent {
		b.IfAbsent(key)
	}
	if w.present {
		b.IfPresent(key)
	}
	if w.version != nil {
		b.IfVersion(key, *w.version)
	}
	if w.value != nil {
		b.IfValue(key, []byte(*w.value))
	}
}

// parseVersion reads what engine.Version.String writes.
func parseVersion(text string) (v engine.Version, err error) {
	epoch, seq, _ := strings.Cut(text, ".")
	if v.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		v.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return engine.Version{}, usage("a version is EPOCH.SEQ, as 3.1415")
	}
	return v, nil
}
