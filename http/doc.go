// Package http serves a store to clients: it turns requests into operations, and errors into
// status codes. It is the one package of the product that imports net/http; whoever needs both
// imports this one as kvhttp.
//
// # Routes
//
//	GET    /v1/health      200 {"ok":true}; 503 {"ok":false,"reason":R} once nothing is acknowledged any more
//	GET    /v1/role        200 {"role":"primary"}
//	GET    /v1/kv/{key}    200 {"key":K,"value":V,"encoding":"base64"}; 404
//	PUT    /v1/kv/{key}    200 {"ok":true}
//	DELETE /v1/kv/{key}    200 {"ok":true}, whether or not there was such a key
//	POST   /v1/checkpoint  200 {"ok":true}
//
// Every answer is one JSON object and a newline, of type application/json. A failure
// is {"error":TEXT}. Strings are escaped as encoding/json escapes them.
//
// # Keys
//
// A key is what follows /v1/kv/ in the path of the request target, percent-decoded once. It is
// never cleaned and never redirected, so any byte string of 1 to format.MaxKeyLen bytes is a
// key: slashes, dots, zero bytes and what is not UTF-8. A query is not part of it. In an answer, a key that
// is not UTF-8 is base64, which a fourth field says, "key_encoding":"base64"; in the text
// of an error it is quoted as in Go source.
//
// # The body of a PUT
//
// It is {"value":V,"encoding":E}, whatever its Content-Type. E is base64 (also if it is missing or empty), or
// utf-8, utf8, plain or text, which all mean that V is the value itself; letter case and surrounding space do not
// matter. A missing V is the empty value. It is read as encoding/json reads it with DisallowUnknownFields.
//
// # Status codes
//
//	400  the request is malformed, or has no key
//	404  no such key, or no such route
//	405  the route does not know the method; Allow lists those it knows
//	408  the body came too slowly
//	413  the value is too large
//	414  the key is too large
//	500  stored bytes are damaged; or an error of no other kind
//	503  the database is closed, an earlier write of its log failed, or the write waited too long; nothing was written
//	504  the outcome of the write is unknown: it may be there, or not
//	507  the disk is full; nothing was written
//
// What net/http refuses by itself, before a route is chosen, it answers in plain
// text: 400 for a request that is not HTTP or has a malformed percent-encoding, 431 for a header that is too large.
//
// # Limits
//
// A header may take 16 KiB and the longest key with every byte percent-encoded, 208 KiB
// together, and 5 s to arrive. A body may take six times the largest value and 4 KiB, since JSON may write each
// of its bytes as \u0000, and it is only held in memory as far as it has arrived. It, and the answer, may take
// 30 s, or more if they are large and keep up 256 KiB a second. A connection may idle for 60 s.
package http
