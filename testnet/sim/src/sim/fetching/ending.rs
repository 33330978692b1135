//! How a fetch ends: with the model, without it and why, or because its user left.

use hive_fetch::Has;

use super::super::{SECOND, Sim};
use crate::config::STALLED;
use crate::queue::Moment;

/// Why a fetch ended without the model.
enum Why {
    Failed,
    Nobody,
    Unreachable,
}

impl Sim {
    pub(super) fn complete(&mut self, fetch: u32) {
        let Some(going) = self.fetches[fetch as usize].as_ref() else { return };
        let (node, model) = (going.node, going.model);
        if going.forged {
            self.report.failed += 1;
            return self.end_fetch(fetch);
        }
        self.report.completed += 1;
        let secs = (self.now - going.began) as f64 / SECOND as f64;
        if let Some(ideal) = going.ideal {
            self.stretches.push(secs / ideal);
            self.seconds.push(secs);
        }
        // Who forged once and was not tried again has not earned the next fetch either.
        let liars: Vec<u32> = going.liars.iter().copied().collect();
        self.world.keep(node, model);
        self.end_fetch(fetch);
        for liar in
            liars.into_iter().filter(|&liar| !self.is_banned(node, liar)).collect::<Vec<_>>()
        {
            self.ban(node, liar);
        }
        self.list_changed(node);
    }

    /// Nobody is left to ask, or nobody gives anything.
    pub(super) fn give_up(&mut self, fetch: u32) {
        match self.why(fetch) {
            Why::Failed => self.report.failed += 1,
            Why::Nobody => self.report.nobody += 1,
            Why::Unreachable => self.report.unreachable += 1,
        }
        self.end_fetch(fetch);
    }

    /// The user leaves. A fetch that stood still has failed before.
    pub(in crate::sim) fn leave_fetch(&mut self, fetch: u32) {
        if self.is_stalled(fetch) {
            self.report.stalled += 1;
            self.report.failed += 1;
        } else {
            self.report.left += 1;
        }
        self.end_fetch(fetch);
    }

    /// Whether nothing has come for long, although somebody honest could be asked.
    pub(in crate::sim) fn is_stalled(&self, fetch: u32) -> bool {
        let Some(going) = self.fetches[fetch as usize].as_ref() else { return false };
        let silence = self.now - going.heard_at;
        silence > STALLED.as_micros() as Moment && matches!(self.why(fetch), Why::Failed)
    }

    /// Whether anybody honest could have given something that is missing.
    fn why(&self, fetch: u32) -> Why {
        let Some(going) = self.fetches[fetch as usize].as_ref() else { return Why::Nobody };
        let missing = |peer: u32| match self.holding(peer, going.model) {
            Has::All => true,
            Has::Bitfield(part) => part.iter().any(|group| going.planner.wants(group)),
            _ => false,
        };
        let mut why = Why::Nobody;
        for (peer, home) in (0..).zip(&self.world.nodes) {
            let honest = home.online && home.lie.is_none() && peer != going.node;
            if honest && missing(peer) {
                if self.world.meets(going.node, peer) {
                    return Why::Failed;
                }
                why = Why::Unreachable;
            }
        }
        why
    }

    /// Takes a fetch away, with all that was asked; a part of the model stays.
    pub(in crate::sim) fn end_fetch(&mut self, fetch: u32) {
        let Some(ended) = self.fetches[fetch as usize].take() else { return };
        for key in ended.requests.values() {
            self.drop_in_the_middle(*key, ended.planner.progress().is_full());
        }
        let home = &mut self.world.nodes[ended.node as usize];
        home.fetches.retain(|other| *other != fetch);
        let part = ended.planner.progress();
        if part.count() > 0 && !part.is_full() && !ended.forged {
            home.parts.push((ended.model, part.clone()));
        }
    }
}
