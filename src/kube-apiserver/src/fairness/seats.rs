//! The seats of all levels and who waits for them: pure bookkeeping under one short lock.
//!
//! A level may always use its nominal seats. Beyond that it borrows what others lend and do not use just now. Within a
//! level the queues take turns; a flow is dealt a few of the queues and joins the shortest, so that a flood fills its
//! own hand and leaves others a free one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::schema::{Queuing, Spec};

/// What came of asking for seats.
pub(super) enum Entry {
    /// So many seats were taken.
    Seated(u32),
    /// There is none now.
    Wait(Waiting),
    /// There is none, and no more may wait.
    Full,
}

/// A place in a queue.
pub(super) struct Waiting {
    pub(super) id: u64,
    /// Tells how many seats were taken.
    pub(super) called: oneshot::Receiver<u32>,
}

struct Waiter {
    id: u64,
    seats: u32,
    call: oneshot::Sender<u32>,
}

struct Level {
    spec: Spec,
    nominal: u32,
    in_use: u32,
    queues: Vec<VecDeque<Waiter>>,
    /// The queue whose turn it is.
    turn: usize,
    waiting: usize,
}

pub(super) struct Seats {
    total: u32,
    levels: BTreeMap<Arc<str>, Level>,
    next_id: u64,
    /// Seats of waiters that were called and may be gone: by level and id.
    called: BTreeMap<u64, (Arc<str>, u32)>,
}

impl Level {
    fn new(spec: Spec) -> Self {
        let count = spec.queuing().map_or(1, |queuing| queuing.queues);
        let queues = (0..count).map(|_| VecDeque::new()).collect();
        Self { spec, nominal: 0, in_use: 0, queues, turn: 0, waiting: 0 }
    }

    /// Seats that others may use while this level does not.
    fn lendable(&self) -> u32 {
        let lent = u64::from(self.nominal) * u64::from(self.spec.lendable_percent()) / 100;
        u32::try_from(lent).unwrap_or(u32::MAX).min(self.nominal.saturating_sub(self.in_use))
    }

    fn borrowed(&self) -> u32 {
        if self.spec.is_exempt() { 0 } else { self.in_use.saturating_sub(self.nominal) }
    }

    fn most(&self) -> u32 {
        let borrow = |percent: u32| u64::from(self.nominal) * u64::from(percent) / 100;
        let limit = self
            .spec
            .borrowing_limit_percent()
            .map_or(u32::MAX, |percent| u32::try_from(borrow(percent)).unwrap_or(u32::MAX));
        self.nominal.saturating_add(limit)
    }

    /// The next waiter in the order of turns, without taking it.
    fn head(&self) -> Option<(usize, u32)> {
        let count = self.queues.len();
        let mut order = (0..count).map(|step| (self.turn + step) % count);
        order.find_map(|queue| Some((queue, self.queues[queue].front()?.seats)))
    }
}

impl Seats {
    pub(super) fn new(total: u32) -> Self {
        Self { total: total.max(1), levels: BTreeMap::new(), next_id: 0, called: BTreeMap::new() }
    }

    /// Takes over new levels; who runs or waits in a level that stays is not disturbed.
    pub(super) fn configure(&mut self, specs: impl IntoIterator<Item = (Arc<str>, Spec)>) {
        let mut old = std::mem::take(&mut self.levels);
        for (name, spec) in specs {
            let mut level = match old.remove(&name) {
                Some(level) if level.spec.queuing().map(|q| q.queues) == spec.queuing().map(|q| q.queues) => level,
                Some(level) => Level { in_use: level.in_use, ..Level::new(spec.clone()) },
                None => Level::new(spec.clone()),
            };
            level.spec = spec;
            self.levels.insert(name, level);
        }
        // Who waits in a level that is gone is told so by its sender being dropped.
        let shares: u64 = self.levels.values().map(|level| u64::from(level.spec.shares())).sum();
        for level in self.levels.values_mut() {
            let part = u64::from(self.total) * u64::from(level.spec.shares());
            level.nominal = u32::try_from(part.div_ceil(shares.max(1))).unwrap_or(u32::MAX);
        }
        self.call();
    }

    pub(super) fn enter(&mut self, name: &str, flow: u64, seats: u32) -> Entry {
        let free = self.is_free(name, seats);
        let Some(level) = self.levels.get_mut(name) else { return Entry::Seated(0) };
        if level.spec.is_exempt() {
            level.in_use += 1;
            return Entry::Seated(1);
        }
        let seats = seats.clamp(1, level.nominal.max(1));
        if level.waiting == 0 && free {
            level.in_use += seats;
            return Entry::Seated(seats);
        }
        let Some(queuing) = level.spec.queuing() else { return Entry::Full };
        let hand = deal(flow, queuing);
        let shortest = hand.into_iter().min_by_key(|queue| level.queues[*queue].len()).unwrap_or(0);
        if level.queues[shortest].len() >= queuing.length {
            return Entry::Full;
        }
        let (call, called) = oneshot::channel();
        self.next_id += 1;
        level.queues[shortest].push_back(Waiter { id: self.next_id, seats, call });
        level.waiting += 1;
        let id = self.next_id;
        self.call();
        Entry::Wait(Waiting { id, called })
    }

    pub(super) fn leave(&mut self, name: &str, seats: u32) {
        if let Some(level) = self.levels.get_mut(name) {
            level.in_use = level.in_use.saturating_sub(seats);
        }
        self.call();
    }

    /// Takes a waiter out; if it was called already, its seats go back.
    pub(super) fn give_up(&mut self, name: &str, id: u64) {
        if let Some((name, seats)) = self.called.remove(&id) {
            return self.leave(&name, seats);
        }
        let Some(level) = self.levels.get_mut(name) else { return };
        let before = level.waiting;
        for queue in &mut level.queues {
            queue.retain(|waiter| waiter.id != id);
        }
        level.waiting = level.queues.iter().map(VecDeque::len).sum();
        if before != level.waiting {
            // A smaller request behind it may fit.
            self.call();
        }
    }

    /// How many seats of a level are in use, and how many requests wait.
    #[cfg(test)]
    pub(super) fn load(&self, name: &str) -> (u32, usize) {
        self.levels.get(name).map_or((0, 0), |level| (level.in_use, level.waiting))
    }

    fn is_free(&self, name: &str, seats: u32) -> bool {
        let Some(level) = self.levels.get(name) else { return true };
        let seats = seats.clamp(1, level.nominal.max(1));
        let wanted = level.in_use.saturating_add(seats);
        if wanted <= level.nominal {
            return true;
        }
        if wanted > level.most() {
            return false;
        }
        let lent: u32 =
            self.levels.iter().filter(|(other, _)| ***other != *name).map(|(_, level)| level.lendable()).sum();
        let borrowed: u32 = self.levels.values().map(Level::borrowed).sum();
        borrowed.saturating_add(wanted - level.in_use.max(level.nominal)) <= lent
    }

    /// Calls waiters for as long as there are seats: first levels below their nominal share, then borrowers.
    fn call(&mut self) {
        loop {
            let below = |level: &Level| level.in_use < level.nominal;
            let mut heads: Vec<(bool, Arc<str>, usize, u32)> = self
                .levels
                .iter()
                .filter(|(_, level)| level.waiting > 0)
                .filter_map(|(name, level)| {
                    level.head().map(|(queue, seats)| (!below(level), name.clone(), queue, seats))
                })
                .collect();
            heads.sort_by_key(|(borrows, ..)| *borrows);
            let Some((_, name, queue, seats)) =
                heads.into_iter().find(|(_, name, _, seats)| self.is_free(name, *seats))
            else {
                return;
            };
            let Some(level) = self.levels.get_mut(&name) else { return };
            level.turn = (queue + 1) % level.queues.len();
            let Some(waiter) = level.queues[queue].pop_front() else { return };
            level.waiting -= 1;
            let seats = seats.clamp(1, level.nominal.max(1));
            level.in_use += seats;
            if waiter.call.send(seats).is_err() {
                // It left without a word.
                level.in_use -= seats;
            } else {
                self.called.insert(waiter.id, (name, seats));
            }
        }
    }

    /// Takes note that a called waiter is running: from now on its ticket gives the seats back.
    pub(super) fn seated(&mut self, id: u64) {
        self.called.remove(&id);
    }
}

/// Deals a flow its hand of queues: different ones, always the same for the same flow.
pub(super) fn deal(flow: u64, queuing: &Queuing) -> Vec<usize> {
    let mut rest = flow;
    let mut hand: Vec<usize> = Vec::with_capacity(queuing.hand);
    for dealt in 0..queuing.hand.min(queuing.queues) {
        let left = u64::try_from(queuing.queues - dealt).unwrap_or(1);
        let mut card = usize::try_from(rest % left).unwrap_or(0);
        rest /= left;
        // The card counts only what is still in the deck.
        let mut taken = hand.clone();
        taken.sort_unstable();
        for other in taken {
            if card >= other {
                card += 1;
            }
        }
        hand.push(card);
    }
    hand
}
