package transform

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // what some platforms match by
	"crypto/sha1" //nolint:gosec // what some platforms match by
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/ingest/edit"
	"github.com/tidegate/tidegate/ingest/judge"
	"github.com/tidegate/tidegate/ingest/scan"
	"github.com/tidegate/tidegate/internal/config"
)

// step changes one event. An error makes a dead letter of it.
type step interface {
	apply(s *subject) error
}

// equipped steps need something of the outside.
type equipped interface {
	equip(o Options) error
}

// fixed are the members that no transformation may touch.
var fixed = []string{"messageId", "writeKey"}

func path(text, at string, problems *[]config.Problem) []string {
	p, err := edit.Path(text)
	switch {
	case err != nil:
		*problems = append(*problems, config.Problem{Path: at, Message: fmt.Sprintf("%q %s", text, err), Hint: "write properties.email, context.ip or properties.products[].sku"})
	case slices.Contains(fixed, p[0]):
		*problems = append(*problems, config.Problem{Path: at, Message: "an event keeps its " + p[0], Hint: "it is what tells repeats of the event apart"})
	default:
		return p
	}
	return []string{""}
}

func paths(list []string, at string, problems *[]config.Problem) [][]string {
	if len(list) == 0 {
		*problems = append(*problems, config.Problem{Path: at, Message: "names nothing", Hint: "list at least one path"})
	}
	out := make([][]string, len(list))
	for i, text := range list {
		out[i] = path(text, fmt.Sprintf("%s[%d]", at, i), problems)
	}
	return out
}

// single is a path of exactly one value.
func single(text, at string, problems *[]config.Problem) []string {
	p := path(text, at, problems)
	if slices.Contains(p, edit.Items) {
		*problems = append(*problems, config.Problem{Path: at, Message: fmt.Sprintf("%q names the items of a list", text), Hint: "name one value; a script can do more"})
	}
	return p
}

// buildStep compiles a step of the transformation called name.
func buildStep(name string, def tidegate.TransformStep) (step, []config.Problem) {
	var steps []step
	var problems []config.Problem
	if def.Drop != nil {
		steps = append(steps, drop{paths(def.Drop, "drop", &problems)})
	}
	if def.Rename != nil {
		steps = append(steps, buildRename(def.Rename, &problems))
	}
	if def.RenameEvent != nil {
		steps = append(steps, renameEvent(def.RenameEvent))
	}
	if def.Hash != nil {
		steps = append(steps, &hashing{def: *def.Hash, paths: paths(def.Hash.Fields, "hash.fields", &problems)})
	}
	if def.Mask != nil {
		steps = append(steps, masking{*def.Mask, paths(def.Mask.Fields, "mask.fields", &problems)})
	}
	if def.Set != nil {
		steps = append(steps, buildSet(def.Set, &problems))
	}
	if def.Compute != nil {
		steps = append(steps, buildCompute(def.Compute, &problems))
	}
	if def.Filter != "" {
		e, err := compileExpression(def.Filter)
		if err != nil {
			problems = append(problems, config.Problem{Path: "filter", Message: err.Error(), Hint: hintVariables})
		}
		steps = append(steps, filter{e})
	}
	if def.Sample != nil {
		steps = append(steps, sample{name, *def.Sample})
	}
	if def.UserAgent != nil {
		steps = append(steps, buildUserAgent(*def.UserAgent, &problems))
	}
	if def.GeoIP != nil {
		steps = append(steps, buildGeoIP(*def.GeoIP, &problems))
	}
	if len(steps) != 1 {
		problems = append(problems, config.Problem{Message: fmt.Sprintf("the step does %d things", len(steps)), Hint: "a step is exactly one of drop, rename, rename_event, hash, mask, set, compute, filter, sample, user_agent and geoip"})
		return nil, problems
	}
	return steps[0], problems
}

type drop struct{ paths [][]string }

func (d drop) apply(s *subject) error {
	for _, p := range d.paths {
		if s.open().Delete(p...) {
			s.touch()
		}
	}
	return nil
}

type rename []struct{ from, to []string }

func buildRename(def map[string]string, problems *[]config.Problem) rename {
	var r rename
	for _, from := range slices.Sorted(maps.Keys(def)) {
		r = append(r, struct{ from, to []string }{single(from, "rename."+from, problems), single(def[from], "rename."+from, problems)})
	}
	return r
}

func (r rename) apply(s *subject) error {
	o := s.open()
	for _, move := range r {
		if v := o.Get(move.from...); v != nil {
			o.Delete(move.from...)
			o.Set(v, move.to...)
			s.touch()
		}
	}
	return nil
}

type renameEvent map[string]string

func (r renameEvent) apply(s *subject) error {
	if to, ok := r[s.name()]; ok && s.item.Type == tidegate.Track {
		s.open().Set(edit.AppendText(nil, to), "event")
		s.touch()
	}
	return nil
}

type hashing struct {
	def   tidegate.HashStep
	paths [][]string
	salt  []byte
}

func (h *hashing) equip(o Options) error {
	if h.def.Salt == "" {
		return nil
	}
	if o.Secret == nil {
		return errors.New("the salt cannot be resolved here")
	}
	salt, err := o.Secret(h.def.Salt)
	if err == nil && salt == "" {
		err = errors.New("the salt is empty")
	}
	h.salt = []byte(salt)
	return err
}

func (h *hashing) apply(s *subject) error {
	for _, p := range h.paths {
		if s.open().Each(p, h.digest) {
			s.touch()
		}
	}
	return nil
}

// digest hashes texts and numbers; null stays, and of anything else its JSON is hashed.
func (h *hashing) digest(v scan.Value) []byte {
	if len(v) == 0 || v[0] == 'n' {
		return v
	}
	text, ok := v.Text()
	if !ok {
		text = v
	}
	if h.def.Normalize {
		text = bytes.ToLower(bytes.TrimSpace(text))
	}
	algorithm := map[string]func() hash.Hash{"sha512": sha512.New, "sha1": sha1.New, "md5": md5.New}[h.def.Algorithm]
	if algorithm == nil {
		algorithm = sha256.New
	}
	sum := algorithm()
	if h.salt != nil {
		sum = hmac.New(algorithm, h.salt)
	}
	sum.Write(text)
	return edit.AppendText(nil, hex.EncodeToString(sum.Sum(nil)))
}

type masking struct {
	def   tidegate.MaskStep
	paths [][]string
}

func (m masking) apply(s *subject) error {
	for _, p := range m.paths {
		if s.open().Each(p, m.mask) {
			s.touch()
		}
	}
	return nil
}

const masked = "***"

func (m masking) mask(v scan.Value) []byte {
	if len(v) == 0 || v[0] == 'n' {
		return v
	}
	raw, ok := v.Text()
	if !ok {
		if !v.IsNumber() {
			return edit.AppendText(nil, masked) // true, lists and objects say too much by a part
		}
		raw = v
	}
	text := string(raw)
	switch m.def.As {
	case "email":
		if at := strings.LastIndexByte(text, '@'); at > 0 {
			_, size := utf8.DecodeRuneInString(text)
			return edit.AppendText(nil, text[:size]+masked+text[at:])
		}
		return edit.AppendText(nil, masked)
	case "ip":
		return edit.AppendText(nil, network(text))
	}
	letters := []rune(text)
	if m.def.KeepFirst+m.def.KeepLast >= len(letters) {
		return edit.AppendText(nil, masked) // what is short would be shown whole
	}
	return edit.AppendText(nil, string(letters[:m.def.KeepFirst])+masked+string(letters[len(letters)-m.def.KeepLast:]))
}

// network is the address with the part that tells one machine from its neighbours set to zero.
func network(text string) string {
	ip, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil {
		return masked
	}
	ip = ip.Unmap().WithZone("")
	bits := 48
	if ip.Is4() {
		bits = 24
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return masked
	}
	return prefix.Addr().String()
}

type put []struct {
	path  []string
	value []byte
	from  *expression
}

func buildSet(def map[string]json.RawMessage, problems *[]config.Problem) put {
	var p put
	for _, to := range slices.Sorted(maps.Keys(def)) {
		p = append(p, struct {
			path  []string
			value []byte
			from  *expression
		}{single(to, "set."+to, problems), def[to], nil})
	}
	return p
}

func buildCompute(def map[string]string, problems *[]config.Problem) put {
	var p put
	for _, to := range slices.Sorted(maps.Keys(def)) {
		e, err := compileExpression(def[to])
		if err != nil {
			*problems = append(*problems, config.Problem{Path: "compute." + to, Message: err.Error(), Hint: hintVariables})
		}
		p = append(p, struct {
			path  []string
			value []byte
			from  *expression
		}{single(to, "compute."+to, problems), nil, e})
	}
	return p
}

func (p put) apply(s *subject) error {
	for _, one := range p {
		value := one.value
		if one.from != nil {
			var err error
			if value, err = one.from.value(s); err != nil {
				return fmt.Errorf("computing %s: %w", strings.Join(one.path, "."), err)
			}
		}
		if value != nil {
			s.open().Set(value, one.path...)
			s.touch()
		}
	}
	return nil
}

type filter struct{ condition *expression }

func (f filter) apply(s *subject) error {
	yes, err := f.condition.holds(s)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if !yes {
		s.verdict.Fate = judge.Drop
	}
	return nil
}

type sample struct {
	name string // so that two samples choose independently
	def  tidegate.SampleStep
}

func (p sample) apply(s *subject) error {
	by := []byte(s.item.ID)
	if p.def.By == "user" {
		for _, field := range [...]string{"userId", "anonymousId"} {
			if id := s.open().Get(field); !id.Empty() {
				by = id
				break
			}
		}
	}
	sum := sha256.Sum256(append([]byte(p.name+"\x00"), by...))
	share := float64(binary.BigEndian.Uint64(sum[:8])) / math.MaxUint64 * 100
	if share >= p.def.Percent {
		s.verdict.Fate = judge.Drop
	}
	return nil
}
