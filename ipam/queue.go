package ipam

import (
	"container/list"
	"net/netip"
	"time"
)

// queue is a list of released addresses, ordered by when they were released.
// All its operations are O(1), but for adding one that is not the newest.
type queue struct {
	order  *list.List // of released, oldest first
	places map[netip.Addr]*list.Element
}

type released struct {
	addr netip.Addr
	at   time.Time
}

func newQueue() queue {
	return queue{order: list.New(), places: make(map[netip.Addr]*list.Element)}
}

// add puts addr at its place; it must not be in the queue.
func (q queue) add(addr netip.Addr, at time.Time) {
	item := released{addr: addr, at: at}
	for e := q.order.Back(); e != nil; e = e.Prev() {
		if r, ok := e.Value.(released); ok && !r.at.After(at) {
			q.places[addr] = q.order.InsertAfter(item, e)
			return
		}
	}
	q.places[addr] = q.order.PushFront(item)
}

// remove takes addr out; one that is not there is fine.
func (q queue) remove(addr netip.Addr) {
	if e, ok := q.places[addr]; ok {
		q.order.Remove(e)
		delete(q.places, addr)
	}
}

func (q queue) len() int { return q.order.Len() }

// oldest yields the addresses in the order of their release.
func (q queue) oldest(yield func(netip.Addr, time.Time) bool) {
	for e := q.order.Front(); e != nil; e = e.Next() {
		if r, ok := e.Value.(released); ok && !yield(r.addr, r.at) {
			return
		}
	}
}

// newest yields the addresses, the latest released first.
func (q queue) newest(yield func(netip.Addr, time.Time) bool) {
	for e := q.order.Back(); e != nil; e = e.Prev() {
		if r, ok := e.Value.(released); ok && !yield(r.addr, r.at) {
			return
		}
	}
}
