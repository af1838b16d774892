package api

import "context"

// maxHookBytes bounds the body of a hook's call: it is only read to verify its signature.
const maxHookBytes = 1 << 20

// HookRequest is what a hook's call proves itself with.
type HookRequest struct {
	Authorization string
	Signature     string
	Body          []byte
}

type hookIn struct {
	Name          string `path:"name"`
	Authorization string `header:"Authorization"`
	Signature     string `header:"Tidegate-Signature" doc:"t=SECONDS,v1=HEX: the HMAC-SHA256 of the seconds, a dot and the body."`
	RawBody       []byte `required:"false"`
}

// Started answers a hook's call.
type Started struct {
	Sync    string `json:"sync"`
	Started bool   `json:"started" doc:"The sync starts now, or after the run that is going on."`
}

func (s *server) syncHook(ctx context.Context, in *hookIn) (*body[Started], error) {
	err := s.o.Hub.Hook(ctx, in.Name, HookRequest{Authorization: in.Authorization, Signature: in.Signature, Body: in.RawBody})
	return answer(Started{Sync: in.Name, Started: true}, err)
}
