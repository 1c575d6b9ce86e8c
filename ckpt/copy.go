package ckpt

import "github.com/tongpengdl/small-db/format"

// Copy copies the record that the cursor stands on, as it must, to buf, which grows as needed and is returned, and
// verifies the copy. The record's slices point into buf. So what the caller writes on is what was verified, even
// if the mapped bytes change meanwhile, as they do when a page is evicted and read again from a bad disk.
func (c *Cursor) Copy(buf []byte) (Record, []byte, error) {
	buf = append(buf[:0], c.r.data[c.at:c.next]...)
	e, _, err := format.DecodeEntry(buf, c.r.salt, c.at)
	if err != nil {
		return Record{}, buf, corrupt(c.r.name, c.at, err)
	}
	return Record{Seq: c.r.spans[c.span].baseSeq + uint64(e.SeqDelta), Expiry: e.Expiry, Key: e.Key, Value: e.Value}, buf, nil
}
