package report

import (
	"encoding/json"
	"io"
	"slices"
)

// WriteJSON writes rows, those of the parts last, and ratios. A ratio that was not measured is null.
func (r *Results) WriteJSON(w io.Writer) error {
	document := struct {
		Rows   []Row               `json:"rows"`
		Ratios map[string]*float64 `json:"ratios"`
	}{Rows: slices.Clone(r.Rows), Ratios: map[string]*float64{}}
	for _, p := range r.Parts {
		document.Rows = append(document.Rows, r.partRows(p)...)
	}
	if document.Rows == nil {
		document.Rows = []Row{}
	}
	for _, g := range Goals {
		document.Ratios[g.Name] = nil
		if value, ok := r.Ratios[g.Name]; ok {
			document.Ratios[g.Name] = &value
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
