//! Stored pairs with newer writes laid over them, in key order.

use std::iter::Peekable;

use bytes::Bytes;

use crate::Error;
use crate::engine::{Pair, Pairs};

/// Walks `stored` and `over` side by side, both in the same direction. `resolve` says what a write makes of the stored
/// value; `None` leaves the key out.
pub(crate) struct Merge<'a, I: Iterator, R> {
    stored: Peekable<Pairs<'a>>,
    over: Peekable<I>,
    reverse: bool,
    resolve: R,
}

impl<'a, W, I, R> Merge<'a, I, R>
where
    I: Iterator<Item = (&'a Bytes, W)>,
    R: FnMut(W, Option<Bytes>) -> Option<Bytes>,
{
    pub(crate) fn new(stored: Pairs<'a>, over: I, reverse: bool, resolve: R) -> Self {
        Self { stored: stored.peekable(), over: over.peekable(), reverse, resolve }
    }
}

impl<'a, W, I, R> Iterator for Merge<'a, I, R>
where
    I: Iterator<Item = (&'a Bytes, W)>,
    R: FnMut(W, Option<Bytes>) -> Option<Bytes>,
{
    type Item = Result<Pair, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.stored.peek(), self.over.peek()) {
                (Some(Err(_)), _) | (Some(_), None) | (None, None) => return self.stored.next(),
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(Ok((stored, _))), Some((over, _))) if self.reverse => (*over).cmp(stored),
                (Some(Ok((stored, _))), Some((over, _))) => stored.cmp(*over),
            };
            if order.is_lt() {
                return self.stored.next();
            }
            let stored = match order.is_eq() {
                true => self.stored.next().and_then(Result::ok).map(|(_, value)| value),
                false => None,
            };
            let (key, write) = self.over.next()?;
            if let Some(value) = (self.resolve)(write, stored) {
                return Some(Ok((key.clone(), value)));
            }
        }
    }
}
