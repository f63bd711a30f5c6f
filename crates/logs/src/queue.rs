//! What waits to be written: a queue with one order over all streams, bounded for each stream and in total.
//!
//! Events carry ticket numbers. When bytes run out, the oldest events of the noisiest stream are dropped and counted;
//! the count is written to that stream as a record of its own, so a gap in a log always shows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::keys::StreamName;
use crate::{LogEvent, limits};

/// Events and drop counts on their way to the store. Pure: no clock, no task.
#[derive(Default)]
pub(crate) struct Waiting {
    events: BTreeMap<u64, Queued>,
    streams: HashMap<Arc<StreamName>, Backlog>,
    bytes: usize,
    /// The ticket of the next event.
    next_ticket: u64,
    /// Somebody waits until every event with a smaller ticket is durable: none of these lingers, in however many batches they come.
    pub(crate) wanted: u64,
    pub(crate) closed: bool,
}

struct Queued {
    stream: Arc<StreamName>,
    event: LogEvent,
    bytes: usize,
}

/// What waits for one stream.
#[derive(Default)]
struct Backlog {
    tickets: VecDeque<u64>,
    bytes: usize,
    dropped: Option<Dropped>,
}

/// Events of one stream that will never be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The ticket of the first: a flush that waits for it waits for the record of the drop.
    pub(crate) ticket: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// The time of the last, in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) last_ms: i64,
}

/// What one transaction writes.
#[derive(Default)]
pub(crate) struct Batch {
    /// In the order of arrival.
    pub(crate) events: Vec<(Arc<StreamName>, LogEvent)>,
    pub(crate) markers: Vec<(Arc<StreamName>, Dropped)>,
}

/// Bytes that an event takes in memory, and at most in a transaction: by itself, with two keys.
fn cost(stream: &StreamName, event: &LogEvent) -> usize {
    event.message.len() + 2 * (stream.group.group.len() + stream.stream.len()) + 200
}

impl Waiting {
    /// Adds an event and returns how many were dropped to make room, the new one perhaps included.
    pub(crate) fn push(&mut self, stream: &Arc<StreamName>, event: LogEvent) -> u64 {
        if self.streams.len() >= limits::QUEUE_STREAMS_MAX && !self.streams.contains_key(stream) {
            return 1;
        }
        let bytes = cost(stream, &event);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let backlog = self.streams.entry(Arc::clone(stream)).or_default();
        backlog.tickets.push_back(ticket);
        backlog.bytes += bytes;
        self.bytes += bytes;
        self.events.insert(ticket, Queued { stream: Arc::clone(stream), event, bytes });
        let mut dropped = 0;
        while self.streams[stream].bytes > limits::STREAM_QUEUE_BYTES_MAX {
            dropped += self.drop_oldest_of(&Arc::clone(stream));
        }
        while self.bytes > limits::QUEUE_BYTES_MAX {
            let noisiest =
                self.streams.iter().max_by_key(|(_, backlog)| backlog.bytes).map(|(name, _)| Arc::clone(name));
            dropped += self.drop_oldest_of(&noisiest.expect("bytes wait, so a stream does"));
        }
        dropped
    }

    fn drop_oldest_of(&mut self, stream: &Arc<StreamName>) -> u64 {
        let backlog = self.streams.get_mut(stream).expect("the stream is in the queue");
        let ticket = backlog.tickets.pop_front().expect("the stream has waiting events");
        let queued = self.events.remove(&ticket).expect("every ticket has its event");
        backlog.bytes -= queued.bytes;
        self.bytes -= queued.bytes;
        let bytes = queued.event.message.len() as u64;
        self.note_dropped(stream, Dropped { ticket, events: 1, bytes, last_ms: queued.event.timestamp_ms });
        1
    }

    /// Adds to the drop count of a stream.
    fn note_dropped(&mut self, stream: &Arc<StreamName>, more: Dropped) {
        let backlog = self.streams.entry(Arc::clone(stream)).or_default();
        backlog.dropped = Some(match backlog.dropped {
            None => more,
            Some(so_far) => Dropped {
                ticket: so_far.ticket.min(more.ticket),
                events: so_far.events + more.events,
                bytes: so_far.bytes + more.bytes,
                last_ms: so_far.last_ms.max(more.last_ms),
            },
        });
    }

    /// There is nothing to write, neither events nor counts of dropped ones.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// There is as much as one transaction writes: waiting for more is of no use.
    pub(crate) fn fills_a_batch(&self) -> bool {
        self.bytes >= limits::BATCH_BYTES_MAX
    }

    /// Takes the oldest events, up to the size of a transaction, and drop counts.
    pub(crate) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(entry) = self.events.first_entry() {
            if bytes > 0 && bytes + entry.get().bytes > limits::BATCH_BYTES_MAX {
                break;
            }
            let queued = entry.remove();
            bytes += queued.bytes;
            let backlog = self.streams.get_mut(&queued.stream).expect("a waiting event has a backlog");
            backlog.tickets.pop_front();
            backlog.bytes -= queued.bytes;
            batch.events.push((queued.stream, queued.event));
        }
        self.bytes -= bytes;
        for (stream, backlog) in &mut self.streams {
            if batch.markers.len() == limits::BATCH_MARKERS_MAX {
                break;
            }
            batch.markers.extend(backlog.dropped.take().map(|dropped| (Arc::clone(stream), dropped)));
        }
        // The order of a hash map is chance; what is written must not be.
        batch.markers.sort_by_key(|(_, dropped)| dropped.ticket);
        self.streams.retain(|_, backlog| !backlog.tickets.is_empty() || backlog.dropped.is_some());
        batch
    }

    /// Counts a batch that could not be written as dropped; returns how many events that adds. Later flushes wait for
    /// the record of it, earlier ones do not: they have failed.
    pub(crate) fn give_up(&mut self, batch: Batch) -> u64 {
        let ticket = self.next_ticket;
        let events = batch.events.len() as u64;
        for (stream, event) in batch.events {
            let bytes = event.message.len() as u64;
            self.note_dropped(&stream, Dropped { ticket, events: 1, bytes, last_ms: event.timestamp_ms });
        }
        for (stream, dropped) in batch.markers {
            self.note_dropped(&stream, Dropped { ticket, ..dropped });
        }
        events
    }

    /// Every event with a smaller ticket is out of the queue, and so is the record of its drop.
    pub(crate) fn first_ticket(&self) -> u64 {
        let event = self.events.keys().next().copied();
        let dropped = self.streams.values().filter_map(|backlog| Some(backlog.dropped?.ticket)).min();
        [event, dropped].into_iter().flatten().min().unwrap_or(self.next_ticket)
    }

    /// The ticket that the next event gets.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }
}

#[cfg(test)]
mod tests;
