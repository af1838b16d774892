// Package normalize brings personal data into the form that advertising
// platforms compare, so that the digest of our value equals the digest of
// theirs. Every platform publishes rules of its own; rules.go names them and
// where they were read.
//
// Invariants: a value is never guessed: a telephone number without its country
// code, a country that is no code or an e-mail address without its @ is an
// error; the result is the same for a value that is normal already; nothing is
// kept between calls.
//
// It does not read rows and does not know destinations. All functions are pure
// and safe for concurrent use.
package normalize

import (
	"crypto/md5"  //nolint:gosec // some APIs ask for it; it protects nothing here
	"crypto/sha1" //nolint:gosec // some APIs ask for it; it protects nothing here
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// MaxBytes is the longest value that Text takes.
const MaxBytes = 4096

// Text brings text into the normal form of kind under the rules of a platform
// ("" for none). country is the ISO code that a telephone number without a
// country code and a postal code are read by; it may be empty. A value that says nothing gives "".
func Text(rules Rules, kind, country, text string) (string, error) {
	if len(text) > MaxBytes {
		return "", fmt.Errorf("the value has %d bytes, %d can be normalised", len(text), MaxBytes)
	}
	apply, ok := kinds[kind]
	if !ok {
		return "", fmt.Errorf("nothing is called %q that could be normalised", kind)
	}
	text = keep(strings.ToValidUTF8(text, ""), visible)
	if text = strings.TrimSpace(text); text == "" {
		return "", nil
	}
	out, err := apply(formOf(rules), country, text)
	return strings.TrimSpace(out), err
}

// Kinds lists what Text can normalise.
func Kinds() []string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Personal says whether kind is a kind of personal data: a value of such a kind
// can be told from a digest, which "lower" and "trim" cannot.
func Personal(kind string) bool {
	_, known := kinds[kind]
	return known && kind != "lower" && kind != "trim"
}

// kinds is read only.
var kinds = map[string]func(f form, country, text string) (string, error){
	"email":       email,
	"phone":       phone,
	"first_name":  func(f form, _, text string) (string, error) { return name(f, text, withoutTitle), nil },
	"last_name":   func(f form, _, text string) (string, error) { return name(f, text, withoutSuffix), nil },
	"city":        func(f form, _, text string) (string, error) { return place(f, text), nil },
	"state":       state,
	"postal_code": postalCode,
	"country":     func(f form, _, text string) (string, error) { return countryCode(f, text) },
	"gender":      func(f form, _, text string) (string, error) { return gender(f, text) },
	"birth_date":  func(f form, _, text string) (string, error) { return birthDate(f, text) },
	"lower":       func(_ form, _, text string) (string, error) { return strings.ToLower(text), nil },
	"trim":        func(_ form, _, text string) (string, error) { return text, nil },
}

func email(f form, _, text string) (string, error) {
	if f.email >= mailNoSpaces {
		text = keep(text, func(r rune) bool { return !unicode.IsSpace(r) })
	}
	text = strings.ToLower(text)
	local, domain, ok := strings.Cut(text, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") || strings.ContainsFunc(text, unicode.IsSpace) {
		return "", errors.New("the value is not an e-mail address")
	}
	if f.email == mailGmail && (domain == "gmail.com" || domain == "googlemail.com") {
		local, _, _ = strings.Cut(local, "+")
		if local = strings.ReplaceAll(local, ".", ""); local == "" {
			return "", errors.New("the value is not an e-mail address")
		}
		text = local + "@" + domain
	}
	return text, nil
}

func name(f form, text string, titles func(string) string) string {
	if f.name == nameAsIs {
		return text
	}
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	switch f.name {
	case nameNoTitles:
		text = titles(text)
	case nameNoMarks:
		text = keep(text, func(r rune) bool { return !unicode.IsPunct(r) && !unicode.IsSymbol(r) })
	case nameAsIs, nameLower:
	}
	return strings.Join(strings.Fields(text), " ")
}

var (
	titlesBefore  = []string{"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "rev"}
	suffixesAfter = []string{"jr", "sr", "ii", "iii", "iv", "phd", "md", "esq"}
)

// withoutTitle drops "Mrs." and the like from the front, as long as a name is left.
func withoutTitle(text string) string {
	for {
		first, rest, more := strings.Cut(text, " ")
		rest = strings.TrimSpace(rest)
		if !more || rest == "" || !slices.Contains(titlesBefore, strings.TrimSuffix(first, ".")) {
			return text
		}
		text = rest
	}
}

// withoutSuffix drops "Jr." and the like from the end, as long as a name is left.
func withoutSuffix(text string) string {
	for {
		at := strings.LastIndexByte(text, ' ')
		if at <= 0 || !slices.Contains(suffixesAfter, strings.ReplaceAll(text[at+1:], ".", "")) {
			return text
		}
		text = strings.TrimRight(text[:at], " ,")
	}
}

func place(f form, text string) string {
	if f.place == placeAsIs {
		return text
	}
	return letters(text)
}

// letters keeps the letters and digits of a text, in lower case.
func letters(text string) string {
	return keep(strings.ToLower(text), func(r rune) bool { return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) })
}

func state(f form, country, text string) (string, error) {
	if f.place == placeAsIs {
		return text, nil
	}
	plain := letters(text)
	if strings.EqualFold(country, "US") {
		if code, ok := usStates[plain]; ok {
			return code, nil
		}
	}
	return plain, nil
}

func postalCode(f form, country, text string) (string, error) {
	switch f.postal {
	case postalAsIs:
		return text, nil
	case postalDigits:
		if !strings.ContainsFunc(text, unicode.IsLetter) {
			return keep(text, unicode.IsDigit), nil
		}
		return letters(text), nil
	case postalShort:
	}
	plain := letters(text)
	digits := !strings.ContainsFunc(plain, unicode.IsLetter)
	switch {
	case digits && (strings.EqualFold(country, "US") && len(plain) > 5 || plusFour(text)):
		return plain[:5], nil
	case strings.EqualFold(country, "GB") && len(plain) >= 5 && len(plain) <= 7:
		return plain[:len(plain)-2], nil // area, district and sector, without the unit
	}
	return plain, nil
}

// plusFour recognises 94103-1234, which only the United States write.
func plusFour(text string) bool {
	if len(text) != 10 || text[5] != '-' {
		return false
	}
	for i := range len(text) {
		if i != 5 && (text[i] < '0' || text[i] > '9') {
			return false
		}
	}
	return true
}

// visible drops controls and the marks that spreadsheets leave behind; joiners
// inside a word are letters of some scripts and stay.
func visible(r rune) bool {
	switch r {
	case '\u200b', '\u200e', '\u200f', '\ufeff':
		return false
	}
	return unicode.IsSpace(r) || !unicode.IsControl(r)
}

// keep returns the characters of text that want says yes to.
func keep(text string, want func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if want(r) {
			return r
		}
		return -1
	}, text)
}

// Algorithms lists the digests that Digest knows.
func Algorithms() []string { return []string{"sha256", "sha512", "sha1", "md5"} }

// Digest returns the digest of text in lower-case hexadecimal digits.
func Digest(algorithm, text string) (string, error) {
	switch algorithm {
	case "sha256":
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:]), nil
	case "sha512":
		sum := sha512.Sum512([]byte(text))
		return hex.EncodeToString(sum[:]), nil
	case "sha1":
		sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
		return hex.EncodeToString(sum[:]), nil
	case "md5":
		sum := md5.Sum([]byte(text)) //nolint:gosec // see the import
		return hex.EncodeToString(sum[:]), nil
	}
	return "", fmt.Errorf("no digest is called %q", algorithm)
}

// IsDigest says whether text looks like a digest of that algorithm already, in either case.
func IsDigest(algorithm, text string) bool {
	size := map[string]int{"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32}[algorithm]
	if size == 0 || len(text) != size {
		return false
	}
	_, err := hex.DecodeString(text)
	return err == nil
}
