package bigquery

import (
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate"
)

const otherwise = "; or set staging to load_jobs"

// storageRules say what a status of the Storage Write API means. What none names is a Retry.
var storageRules = map[codes.Code]rule{
	codes.Unauthenticated:  {action: tidegate.Halt, code: "auth.refused", hint: "check the credentials: the key may be deleted or of another project"},
	codes.PermissionDenied: {action: tidegate.Halt, code: "warehouse.permission", hint: "grant the account roles/bigquery.dataEditor on the dataset " + stagingDataset + " (bigquery.tables.updateData is missing)" + otherwise + page},
	codes.NotFound:         {action: tidegate.Retry, code: "warehouse.staging"},
	// Longer than maxThrottle: auto has another way, and need not wait.
	codes.ResourceExhausted:  {action: tidegate.Throttle, after: 20 * time.Second, code: "warehouse.rate_limited", hint: "a quota of the Storage Write API is used up: see IAM & Admin, Quotas" + otherwise},
	codes.InvalidArgument:    {action: tidegate.Halt, code: "warehouse.invalid", hint: "correct what the message names" + otherwise},
	codes.Unimplemented:      {action: tidegate.Halt, code: "warehouse.config", hint: "storage_endpoint is no Storage Write API: correct it, or set staging to load_jobs"},
	codes.FailedPrecondition: {action: tidegate.Retry, code: "warehouse.staging"},
	codes.OutOfRange:         {action: tidegate.Retry, code: "warehouse.staging"}, // an append before it is not there
	codes.Unavailable:        {action: tidegate.Retry, code: "warehouse.connection", hint: "check the network: bigquerystorage.googleapis.com must be reached on port 443, beside bigquery.googleapis.com" + otherwise},
	codes.DeadlineExceeded:   {action: tidegate.Retry, code: "warehouse.connection", hint: "check the network"},
	codes.Canceled:           {action: tidegate.Retry, code: "warehouse.connection", hint: "check the network"},
}

// storageFault says what a failed call of the Storage Write API means. What has no status
// is left as it is, for classify.
func storageFault(err error) error {
	var own *tidegate.Fault
	if err == nil || errors.As(err, &own) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	found, known := storageRules[st.Code()]
	if !known {
		found = rule{action: tidegate.Retry, code: "warehouse.engine"}
	}
	if strings.Contains(st.Message(), "has not been used in project") {
		found = rule{action: tidegate.Halt, code: "warehouse.api_off", hint: "run `gcloud services enable bigquerystorage.googleapis.com` for the project" + otherwise}
	}
	return &tidegate.Fault{
		Action: found.action, After: found.after, Code: found.code, Message: oneLine("the Storage Write API: " + st.Message()), Hint: found.hint, Err: err,
	}
}

// notThere says whether err may mean that a table is not known yet.
func notThere(err error) bool {
	switch status.Code(err) {
	case codes.NotFound:
		return true
	case codes.PermissionDenied:
		return strings.Contains(status.Convert(err).Message(), "may not exist")
	default:
		return storageCode(err) == storagepb.StorageError_TABLE_NOT_FOUND
	}
}

// storageCode is what the API says of a stream beside the status.
func storageCode(err error) storagepb.StorageError_StorageErrorCode {
	for _, detail := range status.Convert(err).Details() {
		if e, ok := detail.(*storagepb.StorageError); ok {
			return e.GetCode()
		}
	}
	return storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED
}
