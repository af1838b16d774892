package normalize

import "slices"

// Rules names the platform whose rules apply; the empty text stands for rules
// that no platform publishes: trimmed, lower case, E.164, ISO codes and dates.
type Rules string

// The platforms. Meta, Google and Snap were read on 2026-11-21 at the addresses
// that stand beside them, TikTok's for e-mail and telephone too; TikTok's other
// fields and Pinterest follow what their API references have said for years.
const (
	Plain     Rules = ""
	Meta      Rules = "meta"      // developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
	Google    Rules = "google"    // developers.google.com/data-manager/api/devguides/concepts/formatting
	TikTok    Rules = "tiktok"    // ads.tiktok.com/help/article/how-to-create-a-custom-audience-with-a-customer-file
	LinkedIn  Rules = "linkedin"  // learn.microsoft.com/linkedin/marketing/conversions: only the e-mail address is hashed
	Pinterest Rules = "pinterest" // developers.pinterest.com/docs/api/v5/events-create
	Snap      Rules = "snap"      // developers.snap.com/api/marketing-api/Conversions-API/Parameters
)

// AllRules lists the names of the platforms.
func AllRules() []string {
	return []string{string(Google), string(LinkedIn), string(Meta), string(Pinterest), string(Snap), string(TikTok)}
}

// Known says whether rules is Plain or the name of a platform.
func Known(rules string) bool { return rules == "" || slices.Contains(AllRules(), rules) }

// form is the rules of a platform as data.
type form struct {
	email  mailForm
	plus   bool // E.164 with its plus
	name   nameForm
	place  placeForm
	postal postalForm
	upper  bool // country codes in upper case
	dashes bool // birth dates as 2006-01-02 rather than 20060102
	third  bool // a gender besides f and m: n
}

type mailForm int

const (
	mailLower    mailForm = iota // trimmed, lower case
	mailNoSpaces                 // and no white space inside
	mailGmail                    // and Gmail's addresses without dots and without what follows a plus
)

type nameForm int

const (
	nameLower    nameForm = iota // lower case, single spaces
	nameNoMarks                  // and no punctuation
	nameNoTitles                 // lower case, without Mrs. and Jr.
	nameAsIs                     // sent in clear, as people write it
)

type placeForm int

const (
	placeLetters placeForm = iota // lower case, letters and digits only
	placeAsIs                     // sent in clear
)

type postalForm int

const (
	postalShort  postalForm = iota // no spaces and dashes; five digits in the US, without the unit in the UK
	postalDigits                   // digits only, where there are no letters
	postalAsIs                     // sent in clear
)

func formOf(r Rules) form {
	switch r {
	case Meta, Snap:
		return form{name: nameNoMarks}
	case TikTok:
		return form{email: mailNoSpaces, plus: true, name: nameNoMarks}
	case Pinterest:
		return form{postal: postalDigits, third: true}
	case Google:
		return form{email: mailGmail, plus: true, name: nameNoTitles, place: placeAsIs, postal: postalAsIs, upper: true, dashes: true}
	case LinkedIn:
		return form{plus: true, name: nameAsIs, place: placeAsIs, postal: postalAsIs, upper: true, dashes: true}
	case Plain:
	}
	return form{plus: true, place: placeAsIs, postal: postalAsIs, upper: true, dashes: true}
}
