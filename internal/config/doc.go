// Package config turns YAML and JSON documents into Go structs, strictly, and
// describes those structs to editors, forms and reference pages.
//
// One Go struct is the only source. Its tags say everything:
//
//	json:"name,omitempty"   the key; without omitempty, omitzero and default the field is required
//	doc:"…"                 one sentence for editors and the reference page
//	default:"…"             the value of an absent field, written as in YAML
//	enum:"a,b"              the allowed texts
//	pattern:"^…$"           a regular expression that the text must match
//	write:"…"               what a problem says to write where the field is missing, as YAML on one line
//	format:"uri"            uri and duration are checked, other formats are documentation
//	min:"1" max:"100"       inclusive bounds of a number, or of the length of a list
//	secret:"true"           a string that is a secret; implied by the type secret.Secret
//
// Decoding reports every problem it finds, each with file, line, column, path
// and the mend, and changes nothing it was not told to. An unknown key, a key
// twice, a wrong type and a second document are problems. What is already in
// the target when decoding starts counts as its default.
//
// Secrets may be references, `${env:NAME}`, `${file:PATH}` or `${secret:NAME}`. Decoding keeps
// them as they are written; Resolve replaces them when a connection is opened.
// Only secret fields are resolved: in any other field the text is just text.
//
// Invariant 9: no problem quotes the value of a secret field.
//
// It does not watch files, merge documents or know what a definition means.
// Nothing here is stateful; everything is safe for concurrent use, the target
// of a decoding excepted.
package config
