package http

import (
	"net"
	"net/http"
)

// PlainBytes is the size of the largest plain request.
const PlainBytes = plainBytes

// UseListener takes the place of Listen.
func (s *Server) UseListener(listener net.Listener) { s.listener = listener }

// NetHTTP is the server for all that is not plain. Served by itself, it serves everything.
func (s *Server) NetHTTP() *http.Server { return &s.server }

// Plain is how many connections are not net/http's.
func (s *Server) Plain() int {
	s.plain.mu.Lock()
	defer s.plain.mu.Unlock()
	return len(s.plain.conns)
}
