package postgres

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/pgwire"
)

func appendArg(dst []byte, arg any) ([]byte, error) {
	switch v := arg.(type) {
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case []byte:
		return hex.AppendEncode(append(dst, `\x`...), v), nil
	case tidegate.CalendarDate:
		return pgwire.AppendDate(dst, v), nil
	case time.Time:
		if pgwire.Outside(v) {
			return dst, pgwire.ErrTimeSpan
		}
		return pgwire.AppendTimestamp(dst, v), nil
	}
	return pgwire.AppendText(dst, arg)
}
