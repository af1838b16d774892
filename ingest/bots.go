package ingest

import (
	"bytes"

	"github.com/tidegate/tidegate/ingest/scan"
)

// botWords tell a program that reads the web from a person's browser, in lower
// case. They are parts of what such programs call themselves; no browser and no
// SDK for servers has them.
var botWords = [][]byte{
	[]byte("bot"), []byte("crawl"), []byte("spider"), []byte("slurp"), []byte("headless"), []byte("phantomjs"), []byte("prerender"),
	[]byte("facebookexternalhit"), []byte("ia_archiver"), []byte("archive.org"), []byte("mediapartners"), []byte("google-inspectiontool"),
	[]byte("feedfetcher"), []byte("apis-google"), []byte("google-read-aloud"), []byte("lighthouse"), []byte("pagespeed"), []byte("gtmetrix"),
	[]byte("pingdom"), []byte("statuscake"), []byte("site24x7"), []byte("ptst/"), []byte("bingpreview"), []byte("uripreview"),
}

// notBots have a word of botWords in them and are people's: a maker of telephones.
var notBots = [][]byte{[]byte("cubot")}

// longestUserAgent bounds how much of a user agent is looked at.
const longestUserAgent = 1024

// botName returns what the bot with this user agent calls itself, "" when it is none.
func botName(userAgent []byte) string {
	userAgent = userAgent[:min(len(userAgent), longestUserAgent)]
	lower := lowerASCII(userAgent)
	for _, word := range botWords {
		for from := 0; ; {
			i := bytes.Index(lower[from:], word)
			if i < 0 {
				break
			}
			start, end := from+i, from+i+len(word)
			from = end
			for start > 0 && isNameByte(lower[start-1]) {
				start--
			}
			for end < len(lower) && isNameByte(lower[end]) {
				end++
			}
			if !falseAlarm(lower[start:end]) {
				return string(userAgent[start:end])
			}
		}
	}
	return ""
}

func falseAlarm(name []byte) bool {
	for _, word := range notBots {
		if bytes.HasPrefix(name, word) {
			return true
		}
	}
	return false
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '!'
}

// lowerASCII returns text with its ASCII letters in lower case, byte for byte.
func lowerASCII(text []byte) []byte {
	lower := bytes.Clone(text)
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] = c + ('a' - 'A')
		}
	}
	return lower
}

// marked returns the event's body with the bot in its context.
func marked(body []byte, name string) []byte {
	mark := `"isBot":true,"bot":{"name":"` + name + `"}` // a name has letters, digits and -_.!/ only
	found := false
	out := scan.Value(body).AppendReplaced(nil, []string{"context"}, func(context scan.Value) []byte {
		if !context.IsObject() {
			return context
		}
		found = true
		return with(context, mark)
	})
	if found {
		return out
	}
	return with(body, `"context":{`+mark+`}`)
}

// with returns the object with more members at its end.
func with(object scan.Value, members string) []byte {
	end := len(object) - 1
	out := append(make([]byte, 0, end+len(members)+2), object[:end]...)
	if len(bytes.TrimSpace(object[1:end])) > 0 {
		out = append(out, ',')
	}
	return append(append(out, members...), '}')
}
