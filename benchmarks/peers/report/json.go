package report

import (
	"encoding/json"
	"io"
)

// WriteJSON writes rows and ratios. A ratio that was not measured is null.
func (r *Results) WriteJSON(w io.Writer) error {
	document := struct {
		Rows   []Row               `json:"rows"`
		Ratios map[string]*float64 `json:"ratios"`
	}{Rows: r.Rows, Ratios: map[string]*float64{}}
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
