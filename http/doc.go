// Package http serves a store to clients: it turns requests into operations, and errors into
// status codes. It is the one package of the product that imports net/http; whoever needs both
// imports this one as kvhttp.
//
// # Routes
//
//	GET    /v1/health      200 {"ok":true}; 503 {"ok":false,"reason":R} once no write is acknowledged any more, and while there is damage
//	GET    /v1/role        200 {"role":"primary"}
//	GET    /v1/kv/{key}    200 {"key":K,"value":V,"encoding":"base64"}; 404
//	PUT    /v1/kv/{key}    200 {"ok":true}
//	DELETE /v1/kv/{key}    200 {"ok":true}, whether or not there was such a key
//	POST   /v1/checkpoint  200 {"ok":true}
//	GET    /v1/export      200 and lines (below), of type application/x-ndjson
//	POST   /v1/import      200 {"ok":true,"imported":N}; a failure is {"error":TEXT,"imported":N}
//	GET    /v1/backup      200 and a copy that engine.Restore reads, of type application/octet-stream
//
// Every other answer is one JSON object and a newline, of type application/json. A failure
// is {"error":TEXT}. Strings are escaped as encoding/json escapes them.
//
// # Lines
//
// A line is an entry as one JSON object; AppendLine and DecodeLine say how. Bytes that are no text, or that JSON would write in more than twice as many, are base64. Whatever keys, values and deadlines a store holds, its
// export imported elsewhere makes the same ones. Versions are not kept.
//
// The query of an export selects: prefix, or start (the first key) and end (the first key after), at most limit entries, and from the
// greatest key down with reverse=true. Values are percent-decoded once, and + is a space, as HTML forms have it; any bytes are
// allowed, and an empty prefix, start or end is none. A parameter that is unknown, malformed or there twice is an error; an import
// and a backup know none.
//
// An import sets each line's key, with its deadline, in the order of the lines: the last line of a key wins. A deadline that has passed is
// no error; the key is due at once. The lines are committed in batches while more are read, so an import is not
// atomic: if it fails, the first N lines are durable. Of a line that is wrong, status 400 and "line 17: ..." in the text, N is the number of lines
// before it; nothing from it on was imported. The same holds for a body that breaks off, where the client is gone, too. If the store fails, N
// is what was certainly committed, and only with status 504 there may be more. To repeat a whole import is harmless.
//
// An export and a backup show the state of one moment, and hold up neither writes nor checkpoints. Where one meets damage, or its client takes
// too long, after its first bytes were sent, the connection ends without the last chunk of the answer, which clients report as an
// error; the log of the server has the reason. HTTP/1.0 cannot show the difference and is refused.
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
// matter.
//
// The body is decoded as encoding/json decodes into two strings, with DisallowUnknownFields. So what a JSON string cannot say is
// replaced, not refused: each byte that is not UTF-8, and each \u escape of a surrogate without its
// partner, becomes U+FFFD, and that is what is stored. Bytes that must come back as they were go as base64. A field that is missing
// or null is the empty string; the bodies {} and null thus set the empty value. Names of fields match in any letter
// case, and of a field that occurs twice the last counts. An error repeats at most 200 bytes of
// a body, and at most 1024 of a key.
//
// # Status codes
//
//	400  the request is malformed, or has no key; a line of an import is wrong, or its body broke off
//	404  no such key, or no such route
//	405  the route does not know the method; Allow lists those it knows
//	408  the body came too slowly; nothing was written, but for whole lines of an import
//	409  a transaction conflicts with other writes; nothing was written
//	412  a condition does not hold; nothing was written
//	413  the value is too large
//	414  the key is too large
//	500  stored bytes are damaged; or an error of no other kind
//	503  the database is closed, an earlier write of its log failed, the write waited too long, or there are
//	     too many large bodies, or exports and backups (then with Retry-After); nothing was written
//	504  the outcome of the write is unknown: it may be there, or not
//	505  an export or a backup by HTTP/1.0
//	507  the disk is full, or the memory that the store may take; nothing was written
//
// What net/http refuses by itself, before a route is chosen, it answers in plain
// text: 400 for a request that is not HTTP or has a malformed percent-encoding, 431 for a header that is too large.
//
// # Plain requests
//
// With Listen and Serve, a GET, PUT or DELETE of a key that fits in 8 KiB and has none but the usual fields in its header is read
// here, not by net/http, which would take about twice the processor time. Any other request goes to net/http, and all that follow on its
// connection. Answers are the same, byte for byte; a fuzz test holds that. A program that has ServeHTTP answer its own listener does without.
//
// # Limits
//
// A header may take 16 KiB and the longest key with every byte percent-encoded, 208 KiB
// together, and 5 s to arrive; a new connection may be silent for as long before. A body may take six times the largest value and 4 KiB, since JSON may write each
// of its bytes as \u0000, and it is only held in memory as far as it has arrived. It, and the answer, may take
// 30 s, or more if they are large and keep up 256 KiB a second. A connection may idle for 60 s. A write that has
// waited for 30 s is given up, and earlier when its client closes the connection. The deadlines of plain requests are up to a second later.
//
// At most Options.MaxStreams exports and backups run at once. One more waits up to 1 s for another to end, and is then refused with 503.
// All other routes go on, whatever those do. An export holds at most three copies of the largest value and key, as the store
// reads them, and 256 KiB: no line is ever in memory as a whole. A backup holds five of them at most, 16 bytes for each key that
// is set, 8 for each deadline, and 1 MiB. Both bounds are of what is in use; the collector of garbage takes its share on top. A client that takes
// nothing keeps what its stream holds for 60 s, and is then cut off; one that takes a MiB a minute keeps it until the end.
//
// An import may have any length, and so may what is exported or backed up: each MiB may take 30 s to arrive, and 60 s to be
// taken. A line may be as long as a body, and 384 KiB longer. An import holds about 1 MiB: what it reads ahead, in batches of up to
// 256 KiB or 1000 lines, which the budget below counts. A longer line is held whole, and counts, too.
//
// Bodies larger than 64 KiB share Options.MaxBodiesBytes. One that does not fit is answered with 503 before it
// is read if its length is announced, and else where it stops fitting. The same budget has the values of more than 64 KiB that are being
// answered to a GET: each counts from when it was read from the store until the client has taken it, and is sent through a buffer
// of 64 KiB. If it does not fit, the GET is answered with 503. A body that is refused, or fails, before
// its end ends the connection.
//
// Of a request that has both Content-Length and Transfer-Encoding, net/http obeys the second and removes the first
// before a handler can see it, so its connection stays open. A proxy in front must refuse such requests, or
// the two may disagree where the next one begins.
package http
