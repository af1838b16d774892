package analytics

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by a Client that was closed, and is what
	// Callback.Failure hears of messages that Close had no time to deliver.
	ErrClosed = errors.New("analytics: the client is closed")
	// ErrQueueFull is returned by Enqueue when the queue has reached
	// Config.QueueBytes or Config.SpoolBytes: the message was not accepted.
	ErrQueueFull = errors.New("analytics: the queue is full")
	// ErrMessageTooBig is returned by Enqueue for a message that is longer than
	// Config.MaxMessageBytes when encoded.
	ErrMessageTooBig = errors.New("analytics: the message exceeds the maximum size")
	// ErrGivenUp is what Callback.Failure hears of a message that could not be
	// delivered within Config.GiveUpAfter. It wraps the last attempt's error.
	ErrGivenUp = errors.New("analytics: given up")
)

// ConfigError says which field of a Config cannot be used, and why.
type ConfigError struct {
	Reason string
	Field  string
	Value  any
}

func (e ConfigError) Error() string {
	return fmt.Sprintf("analytics.Config.%s: %s (%v)", e.Field, e.Reason, e.Value)
}

// FieldError says which field of a message cannot be sent, and why. Its text
// leaves the value out, because a value may be personal.
type FieldError struct {
	Type   string // "analytics.Track"
	Name   string // "Event", "Properties.price"
	Value  any
	Reason string
}

func (e FieldError) Error() string {
	return fmt.Sprintf("%s.%s: %s", e.Type, e.Name, e.Reason)
}

// ServerError is a refusal in the server's own words. With a Status below 300
// the request was accepted and only this message refused.
type ServerError struct {
	Status  int
	Code    string // stable, "event.no_identity"; empty when the server names none
	Message string
}

func (e *ServerError) Error() string {
	text := fmt.Sprintf("analytics: the server answered %d", e.Status)
	if e.Status < 300 {
		text = "analytics: the server refused the message"
	}
	if e.Code != "" {
		text += ", " + e.Code
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}
