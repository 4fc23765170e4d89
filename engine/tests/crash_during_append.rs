//! Whatever happens to writes that were not complete when the node stopped: recovery yields what
//! the log held after some prefix of its operations, and nothing that was reported durable is
//! missing. Lives follow each other on the same disk, so leftovers of each meet the next.

mod common;

use std::collections::VecDeque;

use common::{Dice, MemoryDisk, batch};
use engine::log::recover::Contents;
use engine::log::{Log, LogFact, LogSettings};
use engine::recover::Inline;
use model::{Epoch, Zxid};
use proptest::prelude::*;

type Entries = Vec<(Zxid, Vec<u8>)>;

/// All states the log went through, entry by entry, and the last one that is safe.
struct Model {
    states: Vec<Entries>,
    ends: Vec<Zxid>,
    /// Truncations that were not reported yet.
    cuts: VecDeque<usize>,
    safe: usize,
    /// Entries up to here may be gone: a snapshot covers them.
    released: Zxid,
    epoch: u32,
}

impl Model {
    fn last(&self) -> Zxid {
        *self.ends.last().expect("never empty")
    }

    fn push(&mut self, state: Entries, end: Zxid) {
        self.states.push(state);
        self.ends.push(end);
    }

    fn durable(&mut self, upto: Zxid) {
        assert!(self.cuts.is_empty(), "truncations come first");
        let found = (self.safe + 1..self.ends.len()).find(|&n| self.ends[n] == upto);
        self.safe = found.expect("durable is something that was asked for, in order");
    }

    fn was_cut(&mut self, end: Zxid) {
        let cut = self.cuts.pop_front().expect("each truncation is reported once");
        assert_eq!(self.ends[cut], end, "truncations are reported in order");
        self.safe = self.safe.max(cut);
    }

    fn tell(&mut self, fact: &LogFact) {
        match fact {
            LogFact::Durable { upto } => self.durable(*upto),
            LogFact::Cut { end } => self.was_cut(*end),
            other => panic!("nothing failed, yet {other:?}"),
        }
    }

    /// Continues from what a crash left.
    fn recovered(&mut self, entries: Entries, end: Zxid) -> Result<(), TestCaseError> {
        let kept = |state: &Entries| -> Entries {
            state.iter().filter(|(zxid, _)| *zxid > self.released).cloned().collect()
        };
        let entries = kept(&entries);
        let known = (self.safe..self.states.len())
            .find(|&n| kept(&self.states[n]) == entries && self.ends[n] == end);
        prop_assert!(
            known.is_some(),
            "recovered up to {end:?}, {} entries, which is no state from {:?} to {:?}",
            entries.len(),
            self.ends[self.safe],
            self.last()
        );
        (self.states, self.ends) = (vec![entries], vec![end]);
        self.safe = 0;
        self.cuts.clear();
        Ok(())
    }
}

fn act(log: &mut Log, model: &mut Model, disk: &mut MemoryDisk, dice: &mut Dice, big: usize) {
    let mut out = Vec::new();
    let mut facts = Vec::new();
    match dice.below(24) {
        0..10 => {
            if dice.one_in(8) {
                model.epoch += 1;
            }
            let last = model.last();
            let epoch = Epoch(model.epoch);
            let first = if last.epoch() == epoch { last.next() } else { Zxid::new(epoch, 1) };
            let entries: Vec<Vec<u8>> = (0..=dice.below(5))
                .map(|_| {
                    let len = if dice.one_in(6) { dice.below(big) } else { dice.below(300) };
                    vec![dice.next() as u8; len]
                })
                .collect();
            let mut state = model.states.last().expect("never empty").clone();
            for (i, entry) in entries.iter().enumerate() {
                let zxid = Zxid(first.0 + i as i64);
                state.push((zxid, entry.clone()));
                model.push(state.clone(), zxid);
            }
            log.append(batch(first, &entries), &mut out);
        }
        10..22 => {
            if !disk.pending.is_empty() {
                let done = disk.complete(dice.below(disk.pending.len()));
                log.done(&done, &mut out, &mut facts);
            }
        }
        22 => {
            let state = model.states.last().expect("never empty");
            if dice.one_in(3) && !state.is_empty() {
                let end = state[dice.below(state.len())].0;
                let after = state.iter().map(|(z, _)| *z).find(|z| *z > end);
                // Sometimes one that lies in the gap between two epochs.
                let gap = after.is_some_and(|z| z.epoch() > end.epoch()) && dice.one_in(2);
                let to = if gap { Zxid(end.0 + 3) } else { end };
                if end >= model.released {
                    let left = state.iter().filter(|(z, _)| *z <= end).cloned().collect();
                    model.push(left, end);
                    model.cuts.push_back(model.states.len() - 1);
                    assert_eq!(log.truncate(to, &mut out), end);
                }
            }
        }
        _ => {
            model.released = model.released.max(log.durable());
            log.release(model.released, &mut out);
        }
    }
    for fact in facts {
        model.tell(&fact);
        if let LogFact::Durable { upto } = fact {
            assert!(log.durable() >= upto || model.last() < upto, "the log agrees");
        }
    }
    assert!(log.durable() <= log.appended());
    assert_eq!(log.appended(), model.last());
    let writes = disk.pending.iter().chain(&out);
    let flying =
        writes.filter(|op| matches!(op, engine::disk::DiskOp::WriteSegment { .. })).count();
    assert!(flying <= 4, "no more writes in flight than allowed");
    disk.submit(&mut out);
}

fn lives(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice(seed);
    let mut disk = MemoryDisk::default();
    let mut model = Model {
        states: vec![Vec::new()],
        ends: vec![Zxid::ZERO],
        cuts: VecDeque::new(),
        safe: 0,
        released: Zxid::ZERO,
        epoch: 0,
    };
    let settings = LogSettings {
        segment_bytes: [16 << 10, 64 << 10, 256 << 10][dice.below(3)],
        writes_max: 1 + dice.below(4),
        log_id: seed | 1,
    };
    let big = [500, 15_000][dice.below(2)];
    for _ in 0..6 {
        let contents = Contents::read(disk.log(), &Inline)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let surviving = contents.surviving();
        let entries: Entries = surviving
            .runs
            .iter()
            .flat_map(|run| run.after(Zxid::ZERO))
            .map(|(zxid, bytes)| (zxid, bytes.to_vec()))
            .collect();
        if let Some(run) = surviving.runs.first() {
            prop_assert!(run.before <= model.released, "nothing needed was removed");
        }
        let end = contents.position();
        model.recovered(entries, end)?;
        let mut log = contents.resume(settings, end, 0, &[model.released]);
        prop_assert_eq!((log.appended(), log.durable()), (end, end));
        let mut out = Vec::new();
        log.start(&mut out);
        disk.submit(&mut out);
        for _ in 0..dice.below(160) {
            act(&mut log, &mut model, &mut disk, &mut dice, big);
        }
        if dice.one_in(4) {
            while !disk.pending.is_empty() {
                let (mut out, mut facts) = (Vec::new(), Vec::new());
                let done = disk.complete(dice.below(disk.pending.len()));
                log.done(&done, &mut out, &mut facts);
                disk.submit(&mut out);
                for fact in facts {
                    model.tell(&fact);
                }
            }
            prop_assert_eq!(model.safe, model.states.len() - 1, "all became durable");
        }
        disk.crash(&mut dice);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn recovery_yields_a_prefix_that_holds_all_that_was_durable(seed: u64) {
        lives(seed)?;
    }
}
