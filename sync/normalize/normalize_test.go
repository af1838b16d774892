package normalize

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// vector is one line of testdata/vectors.ndjson: what each platform's rules make of a value, null where
// they refuse it. The expectations were written from the vendors' pages by other means than this package.
type vector struct {
	Kind    string             `json:"kind"`
	Country string             `json:"country"`
	In      string             `json:"in"`
	Want    map[string]*string `json:"want"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	f, err := os.Open("testdata/vectors.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestVectors(t *testing.T) {
	t.Parallel()
	count, kindsSeen := map[string]int{}, map[string]bool{}
	for _, v := range vectors(t) {
		kindsSeen[v.Kind] = true
		for platform, want := range v.Want {
			rules := Rules(strings.TrimPrefix(platform, "plain"))
			if !Known(string(rules)) {
				t.Fatalf("no rules are called %q", platform)
			}
			count[platform]++
			got, err := Text(rules, v.Kind, v.Country, v.In)
			switch {
			case want == nil && err == nil:
				t.Errorf("%s %s %q %q: %q, want an error", platform, v.Kind, v.Country, v.In, got)
			case want != nil && err != nil:
				t.Errorf("%s %s %q %q: %v, want %q", platform, v.Kind, v.Country, v.In, err, *want)
			case want != nil && got != *want:
				t.Errorf("%s %s %q %q: %q, want %q", platform, v.Kind, v.Country, v.In, got, *want)
			}
		}
	}
	for _, platform := range AllRules() {
		if count[platform] < 120 {
			t.Errorf("%s has %d vectors", platform, count[platform])
		}
	}
	for _, kind := range Kinds() {
		if !kindsSeen[kind] {
			t.Errorf("%s has no vector", kind)
		}
	}
}

// TestPublishedDigests holds us to digests that the vendors print on their pages.
func TestPublishedDigests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rules                  Rules
		kind, country, in, sum string
	}{
		{Meta, "email", "", "John_Smith@gmail.com", "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"},
		{Meta, "phone", "US", "(650)555-1212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"},
		{Meta, "first_name", "", "Mary", "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"},
		{Meta, "first_name", "", "정", "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14"},
		{Meta, "first_name", "", "Valéry", "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"},
		{Snap, "email", "", "Person@Example.com", "542d240129883c019e106e3b1b2d3f3cb3537c43c425364de8e951d5a3083345"},
		{Snap, "phone", "", "+44 844 412 4653", "dc008fda46e2e64002cf2f82a4906236282d431c4f75e5b60bfe79fc48546383"},
		{Snap, "first_name", "", "John", "96d9632f363564cc3032521409cf22a852f2032eec099ed5967c0d000cec607a"},
		{Snap, "first_name", "", "Raphaël", "e74bb89e718fe1e19c422a48382870399f8bf7ca8dfa008739e75b0be76627b7"},
	} {
		text, err := Text(tc.rules, tc.kind, tc.country, tc.in)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Digest("sha256", text)
		if err != nil || sum != tc.sum {
			t.Errorf("%s %s %q: %q gives %s, want %s (%v)", tc.rules, tc.kind, tc.in, text, sum, tc.sum, err)
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[string]string{ // of the empty text
		"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha1":   "da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"md5":    "d41d8cd98f00b204e9800998ecf8427e",
		"sha512": "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
	} {
		got, err := Digest(algorithm, "")
		if err != nil || got != want {
			t.Errorf("%s: %s, %v", algorithm, got, err)
		}
		if !IsDigest(algorithm, strings.ToUpper(want)) || IsDigest(algorithm, want[1:]) || IsDigest(algorithm, "g"+want[1:]) {
			t.Errorf("%s is not told from other texts", algorithm)
		}
	}
	if _, err := Digest("crc32", ""); err == nil || IsDigest("crc32", "") {
		t.Error("an algorithm that nobody knows")
	}
	if _, err := Text(Meta, "shoe_size", "", "43"); err == nil {
		t.Error("a kind that nobody knows")
	}
	if _, err := Text(Meta, "email", "", strings.Repeat("a", MaxBytes+1)); err == nil {
		t.Error("a value without end")
	}
}

// FuzzText: no value ends the process, what is normal stays as it is, and valid text stays valid.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"a.b+c@gmail.com", "+49 (0)30 901820", "Dr. Ada Jr.", "São Paulo", "94103-1234", "UK", "non-binary", "1991-05-26", "\xff\u200b"} {
		f.Add(seed, "US")
	}
	f.Fuzz(func(t *testing.T, text, country string) {
		if len(country) > 3 {
			return
		}
		for _, platform := range append(AllRules(), "") {
			for _, kind := range Kinds() {
				once, err := Text(Rules(platform), kind, country, text)
				if err != nil {
					continue
				}
				if !utf8.ValidString(once) {
					t.Fatalf("%s %s: %q became %q", platform, kind, text, once)
				}
				if kind == "phone" || kind == "birth_date" || kind == "postal_code" {
					continue // the digits alone do not say what they were made of
				}
				twice, err := Text(Rules(platform), kind, country, once)
				if err != nil || twice != once {
					t.Fatalf("%s %s %s: %q became %q and then %q, %v", platform, kind, country, text, once, twice, err)
				}
			}
		}
	})
}

func BenchmarkText(b *testing.B) {
	for _, tc := range []struct{ kind, in string }{{"email", "Ada.Lovelace@Example.com"}, {"phone", "+49 30 901820"}, {"last_name", "O'Brien"}} {
		b.Run(tc.kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Text(Meta, tc.kind, "", tc.in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleText() {
	plain, _ := Text(Google, "email", "", " Cloudy.SanFrancisco+shopping@gmail.com")
	fmt.Println(plain)
	// Output: cloudysanfrancisco@gmail.com
}
