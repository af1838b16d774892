package normalize

import (
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/language"
)

// phone brings a telephone number into E.164. A number says its country by a
// plus, by 00, or by the country that the mapping names; anything else would be
// a guess, and the digest of a guess belongs to somebody else.
func phone(f form, country, text string) (string, error) {
	if len(text) > 64 { // E.164 has fifteen digits
		return "", errors.New("the value is not a telephone number")
	}
	if digits := strings.TrimLeft(text, " ("); country == "" && strings.HasPrefix(digits, "00") {
		text = "+" + digits[2:]
	}
	if country == "" && !strings.ContainsAny(text, "+＋") {
		return "", errors.New("the telephone number has no country code")
	}
	number, err := phonenumbers.Parse(text, strings.ToUpper(country))
	if err != nil || !phonenumbers.IsPossibleNumber(number) {
		return "", errors.New("the value is not a telephone number")
	}
	e164 := phonenumbers.Format(number, phonenumbers.E164)
	if !f.plus {
		e164 = strings.TrimPrefix(e164, "+")
	}
	return e164, nil
}

func countryCode(f form, text string) (string, error) {
	region, err := language.ParseRegion(text)
	if err != nil || !region.IsCountry() {
		return "", errors.New("the value is not a country code of ISO 3166")
	}
	code := region.Canonicalize().String()
	if len(code) != 2 {
		return "", errors.New("the value is not a country code of ISO 3166")
	}
	if f.upper {
		return code, nil
	}
	return strings.ToLower(code), nil
}

func gender(f form, text string) (string, error) {
	switch strings.ToLower(keep(text, unicode.IsLetter)) {
	case "f", "female", "woman", "w":
		return "f", nil
	case "m", "male", "man":
		return "m", nil
	case "n", "x", "d", "nonbinary", "diverse", "other":
		if f.third {
			return "n", nil
		}
		return "", nil // the platform has no word for it: nothing is said
	case "unknown", "u", "na", "none", "":
		return "", nil
	}
	return "", errors.New("the value is not a gender: f, m or n")
}

var birthLayouts = []string{time.DateOnly, "20060102", "2006/01/02", "2006.01.02", time.RFC3339Nano, time.DateTime}

// birthDate takes dates whose year stands first; 01/02/2000 could be two days.
func birthDate(f form, text string) (string, error) {
	for _, layout := range birthLayouts {
		day, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if day.Year() < 1900 {
			return "", errors.New("the birth date lies before 1900")
		}
		if f.dashes {
			return day.Format(time.DateOnly), nil
		}
		return day.Format("20060102"), nil
	}
	return "", errors.New("the value is not a date (2006-01-02)")
}

// usStates are the names of the states, as letters leaves them.
var usStates = map[string]string{
	"alabama": "al", "alaska": "ak", "arizona": "az", "arkansas": "ar", "california": "ca", "colorado": "co", "connecticut": "ct", "delaware": "de",
	"districtofcolumbia": "dc", "florida": "fl", "georgia": "ga", "hawaii": "hi", "idaho": "id", "illinois": "il", "indiana": "in", "iowa": "ia",
	"kansas": "ks", "kentucky": "ky", "louisiana": "la", "maine": "me", "maryland": "md", "massachusetts": "ma", "michigan": "mi", "minnesota": "mn",
	"mississippi": "ms", "missouri": "mo", "montana": "mt", "nebraska": "ne", "nevada": "nv", "newhampshire": "nh", "newjersey": "nj", "newmexico": "nm",
	"newyork": "ny", "northcarolina": "nc", "northdakota": "nd", "ohio": "oh", "oklahoma": "ok", "oregon": "or", "pennsylvania": "pa", "rhodeisland": "ri",
	"southcarolina": "sc", "southdakota": "sd", "tennessee": "tn", "texas": "tx", "utah": "ut", "vermont": "vt", "virginia": "va", "washington": "wa",
	"westvirginia": "wv", "wisconsin": "wi", "wyoming": "wy", "puertorico": "pr",
}
