package http

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tongpengdl/small-db/engine"
	"github.com/tongpengdl/small-db/format"
)

// Limits of a connection. The package comment gives the reasons.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 60 * time.Second
	// readTimeout bounds the arrival of a request, and then the wait of a write. The context of a request ends
	// earlier when its client is gone: net/http keeps reading while a handler runs, plainConns.watch looks every second.
	readTimeout = 30 * time.Second
	// writeTimeout counts from the end of the header. It leaves a write that has waited for all of readTimeout as long
	// again to be answered.
	writeTimeout = 2 * readTimeout
	// timePerPiece is what each piece of a large body or answer adds to them: 256 KiB a second.
	timePerPiece = 4 * time.Second
	pieceBytes   = 1 << 20

	maxHeaderBytes = 16<<10 + 3*format.MaxKeyLen
)

// DefaultMaxStreams is the default of Options.MaxStreams.
const DefaultMaxStreams = 16

// DefaultMaxBodiesBytes is the default of Options.MaxBodiesBytes.
const DefaultMaxBodiesBytes = 256 << 20

// Store is what the server asks of a database. *engine.DB is one. All methods are called concurrently.
type Store interface {
	// AppendGet appends the value of key to dst. It keeps neither.
	AppendGet(dst, key []byte) (out []byte, ok bool, err error)
	// Set makes value the value of key, durably. Whatever it returns, it keeps neither.
	Set(ctx context.Context, key, value []byte) (engine.Version, error)
	// Delete removes key, durably, if it is there. Whatever it returns, it does not keep key.
	Delete(ctx context.Context, key []byte) (engine.Version, error)
	// Apply sets and deletes what the batch says, durably, all of it or nothing. When it returns it keeps nothing of it.
	Apply(ctx context.Context, b *engine.Batch) (engine.Version, error)
	// Snapshot returns the present state. Whoever holds it stops nobody.
	Snapshot() *engine.Snapshot
	// Backup writes a copy of the present state to w. It is whole if the error is nil.
	Backup(ctx context.Context, w io.Writer) (engine.Version, error)
	// Checkpoint returns when a checkpoint of the present state is durable.
	Checkpoint(ctx context.Context) error
	// Stats says whether the store is well: it acknowledges writes while Failure is nil, and knows
	// of no damage while Damage and Scrub.Damage are nil.
	Stats() engine.Stats
}

// Options say how a store is served. The zero value of every field is its default.
type Options struct {
	// MaxValueBytes is the size of the largest value that the store accepts: bodies that are
	// too large for it are not read. Default: engine.DefaultMaxValueBytes.
	MaxValueBytes int
	// MaxBodiesBytes bounds the bytes of all request bodies larger than 64 KiB that are held at once: a PUT
	// beyond it is refused with 503 and Retry-After. A body counts from its announced length, or as it arrives where
	// none is announced, until its request is answered. Decoding holds the value as well, and up to four times
	// the body where that has escapes. One body of the largest size always passes. An import counts with the part of its
	// body that it holds, about 1 MiB, and with its longest line if that has more than 64 KiB. A value of more than 64 KiB
	// that a GET answers counts until the client has taken it, and a GET beyond is refused in the same way. Default: 256 MiB.
	MaxBodiesBytes int64
	// MaxStreams bounds the exports and backups that run at once. One beyond waits up to 1 s, and is then refused
	// with 503 and Retry-After. The package comment says what each of them may hold. Default: 16.
	MaxStreams int
	// Role is the answer of /v1/role. It is called concurrently. Default: "primary".
	Role func() string
	// Logger is told what goes wrong with connections, and nothing else. Default: silence.
	Logger *slog.Logger
}

// Server answers requests from a store. As an http.Handler it is ready when made; with Listen and
// Serve it has a listener of its own. All methods may be called concurrently, but
// Listen comes first of those that need the listener, once.
type Server struct {
	store    Store
	role     func() string
	maxValue int   // in bytes
	maxBody  int64 // of a PUT, in bytes
	bodies   bodyBudget
	streams  chan struct{} // has one element for each export and backup that runs
	plain    plainConns
	server   http.Server  // of the connections that are not plain
	listener net.Listener // set by Listen
	gate     *gate        // of listener; set by Serve
}

// NewServer returns a server of store. It does not close store.
func NewServer(store Store, opts Options) *Server {
	if opts.MaxValueBytes == 0 {
		opts.MaxValueBytes = engine.DefaultMaxValueBytes
	}
	if opts.MaxBodiesBytes == 0 {
		opts.MaxBodiesBytes = DefaultMaxBodiesBytes
	}
	if opts.MaxStreams == 0 {
		opts.MaxStreams = DefaultMaxStreams
	}
	if opts.Role == nil {
		opts.Role = func() string { return "primary" }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{store: store, role: opts.Role, maxValue: opts.MaxValueBytes, maxBody: maxBodyBytes(opts.MaxValueBytes)}
	s.streams = make(chan struct{}, max(opts.MaxStreams, 1))
	s.bodies.limit = max(opts.MaxBodiesBytes, s.maxBody)
	s.server = http.Server{
		Handler: s,
		// Otherwise net/http answers OPTIONS * itself, with 200 and nothing.
		DisableGeneralOptionsHandler: true,

		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	}
	return s
}

// Listen takes the TCP address addr, "host:port": from now on clients can connect, and wait for
// Serve. Port 0 means any free one; see Addr.
func (s *Server) Listen(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.listener = listener
	return nil
}

// Addr is the address that Listen took, nil before.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Serve answers requests until Shutdown or Close, and then returns nil at once, while Shutdown
// may still be waiting. It fails if Listen did not come first, or with the listener.
func (s *Server) Serve() error {
	if s.listener == nil {
		return errors.New("http: Serve without Listen")
	}
	s.gate = newGate(s, s.listener)
	go s.gate.run()
	err := s.server.Serve(s.gate)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
}

// Shutdown refuses new connections, closes idle ones, and waits for the requests that are being
// answered. When ctx is done first, it returns its error, and Close cuts off what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.plain.leave()
	err := s.server.Shutdown(ctx)
	s.closeListener()
	return cmp.Or(s.plain.wait(ctx), err)
}

// Close refuses new connections and cuts off the others. Requests that are being answered
// have their contexts cancelled; Close does not wait for them.
func (s *Server) Close() error {
	s.plain.close()
	err := s.server.Close()
	s.closeListener()
	return err
}

// closeListener closes a listener that Serve never took charge of. A second close is harmless.
func (s *Server) closeListener() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
}
