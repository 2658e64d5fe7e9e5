package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// The offsets of a DNS message's header (RFC 1035 section 4.1.1).
const (
	headerSize  = 12
	flagsOffset = 2
)

// serveNames answers DNS queries about one name with one address, and that no other
// exists: resolvers then give up at once, instead of waiting.
func serveNames(ctx context.Context, c net.PacketConn, name string, addr [4]byte) error {
	buf := make([]byte, 512)
	for {
		n, peer, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end closed the socket
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		answer := answerQuery(buf[:n], name, addr)
		if answer == nil {
			continue
		}
		// An answer may be lost as any datagram may; the resolver asks again.
		if _, err := c.WriteTo(answer, peer); errors.Is(err, net.ErrClosed) {
			return nil
		}
	}
}

// answerStream is serveNames by TCP, where each message comes after its length (RFC 1035
// section 4.2.2).
func answerStream(conn net.Conn, name string, addr [4]byte) {
	defer conn.Close() //nolint:errcheck // the peer's loss shows at the peer
	for {
		var size uint16
		if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
			return
		}
		query := make([]byte, size)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := answerQuery(query, name, addr)
		if answer == nil {
			return
		}
		head := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
		if _, err := conn.Write(append(head, answer...)); err != nil {
			return
		}
	}
}

// answerQuery returns the answer to a query with one question, nil to anything else.
func answerQuery(query []byte, name string, addr [4]byte) []byte {
	asked, end := question1(query)
	if end == 0 {
		return nil
	}
	// What follows the question, such as EDNS, is not repeated.
	answer := slices.Clone(query[:end])
	clear(answer[6:headerSize])
	answer[flagsOffset] = 0x84 | query[flagsOffset]&0x01 // an answer, authoritative; RD as asked
	answer[flagsOffset+1] = 0x80                         // RA, no error
	isAddress := slices.Equal(query[end-4:end], []byte{0, 1, 0, 1})
	switch {
	case !strings.EqualFold(asked, name):
		answer[flagsOffset+1] |= 3 // NXDOMAIN
	case isAddress:
		answer[7] = 1 // one record: the name of the question, A, IN, TTL 0, 4 bytes
		answer = append(answer, 0xc0, headerSize, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, addr[:]...)
	}
	return answer
}

// question1 returns the name of the message's only question, and where the question
// ends; 0 if the message is not a query with one question.
func question1(m []byte) (name string, end int) {
	if len(m) < headerSize || m[flagsOffset]&0xf8 != 0 || m[4] != 0 || m[5] != 1 {
		return "", 0
	}
	var labels []string
	at := headerSize
	for at < len(m) && m[at] != 0 {
		next := at + 1 + int(m[at])
		if m[at] > 63 || next >= len(m) {
			return "", 0
		}
		labels = append(labels, string(m[at+1:next]))
		at = next
	}
	end = at + 5 // the root's label, type and class
	if end > len(m) {
		return "", 0
	}
	return strings.Join(labels, "."), end
}
