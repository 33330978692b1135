//! Keeps provider records: who says to have what.
//!
//! Anybody may say so of any key at no cost, so what is kept is bounded three ways: per source, per
//! key and in all. When all is full, the source with the most records loses its oldest; a newcomer
//! never pushes out what a smaller source has said. Value records do not exist here.
//!
//! Invariant: `total`, the sources' lists and the keys' lists name the same records.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};
use libp2p::{Multiaddr, PeerId};
use rand::seq::SliceRandom;

use crate::limits::{
    PROVIDER_BYTES_PER_ANSWER, PROVIDERS_PER_ANSWER, RECORD_ADDRESSES, RECORDS, RECORDS_PER_KEY,
    RECORDS_PER_SOURCE,
};

/// Bytes of a multihash of 32 bytes with BLAKE3: code, length, digest.
const KEY_LEN: usize = 34;

/// Whether a key can be the name of something that hive fetches.
pub(crate) fn is_hive_key(key: &RecordKey) -> bool {
    matches!(key.as_ref(), [0x1e, 0x20, digest @ ..] if digest.len() == KEY_LEN - 2)
}

/// How many records of what kind are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quotas {
    pub(crate) total: usize,
    pub(crate) per_source: usize,
    pub(crate) per_key: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { total: RECORDS, per_source: RECORDS_PER_SOURCE, per_key: RECORDS_PER_KEY }
    }
}

#[derive(Debug)]
struct Kept {
    /// When it was last said, in order; the place in the source's list.
    stamp: u64,
    record: ProviderRecord,
}

/// The records of this node and, within [`Quotas`], of others.
#[derive(Debug)]
pub(crate) struct Records {
    local: PeerId,
    quotas: Quotas,
    own: HashSet<RecordKey>,
    /// Where this node itself is; goes into answers about what it has.
    own_addresses: Vec<Multiaddr>,
    /// Most keys have one provider, and a map of maps takes room for four in each: a kilobyte for
    /// every key that a flooder makes up.
    keys: HashMap<RecordKey, Vec<Kept>>,
    /// What each source has said, the longest ago first.
    sources: HashMap<PeerId, BTreeMap<u64, RecordKey>>,
    /// The sources by how much they have said.
    by_count: BTreeSet<(usize, PeerId)>,
    total: usize,
    next_stamp: u64,
}

impl Records {
    pub(crate) fn new(local: PeerId, quotas: Quotas) -> Self {
        Self {
            local,
            quotas,
            own: HashSet::new(),
            own_addresses: Vec::new(),
            keys: HashMap::new(),
            sources: HashMap::new(),
            by_count: BTreeSet::new(),
            total: 0,
            next_stamp: 0,
        }
    }

    /// Says where this node is to be found.
    pub(crate) fn set_own_addresses(&mut self, addresses: Vec<Multiaddr>) {
        self.own_addresses = addresses;
    }

    /// Records of others.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.total
    }

    /// Where `provider` of `key` says to be.
    pub(crate) fn addresses(&self, key: &RecordKey, provider: &PeerId) -> &[Multiaddr] {
        let said_by = |kept: &&Kept| kept.record.provider == *provider;
        let kept = self.keys.get(key).and_then(|providers| providers.iter().find(said_by));
        kept.map_or(&[], |kept| &kept.record.addresses)
    }

    /// Throws out what is no longer alive.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let dead: Vec<_> = self
            .keys
            .values()
            .flatten()
            .filter(|kept| kept.record.is_expired(now))
            .map(|kept| (kept.record.key.clone(), kept.record.provider))
            .collect();
        for (key, provider) in dead {
            self.remove(&key, &provider);
        }
    }

    /// Throws out all that a source has said.
    pub(crate) fn forget(&mut self, source: &PeerId) {
        let keys = self.sources.get(source).map(|keys| keys.values().cloned().collect::<Vec<_>>());
        for key in keys.unwrap_or_default() {
            self.remove(&key, source);
        }
    }

    fn count(&self, source: &PeerId) -> usize {
        self.sources.get(source).map_or(0, BTreeMap::len)
    }

    fn recount(&mut self, source: PeerId, before: usize, after: usize) {
        self.by_count.remove(&(before, source));
        if after > 0 {
            self.by_count.insert((after, source));
        } else {
            self.sources.remove(&source);
        }
    }

    fn remove(&mut self, key: &RecordKey, source: &PeerId) {
        let Some(providers) = self.keys.get_mut(key) else { return };
        let at = providers.iter().position(|kept| kept.record.provider == *source);
        let Some(kept) = at.map(|at| providers.swap_remove(at)) else { return };
        if providers.is_empty() {
            self.keys.remove(key);
        }
        self.total -= 1;
        let before = self.count(source);
        if let Some(said) = self.sources.get_mut(source) {
            said.remove(&kept.stamp);
        }
        self.recount(*source, before, before.saturating_sub(1));
    }

    fn insert(&mut self, record: ProviderRecord) {
        let (key, source) = (record.key.clone(), record.provider);
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let before = self.count(&source);
        self.sources.entry(source).or_default().insert(stamp, key.clone());
        let providers = self.keys.entry(key).or_default();
        if providers.is_empty() {
            providers.reserve_exact(1);
        }
        providers.push(Kept { stamp, record });
        self.total += 1;
        self.recount(source, before, before + 1);
    }

    /// Makes room for one more record of `source` under `key`, or says that there is none.
    fn make_room(&mut self, key: &RecordKey, source: &PeerId) -> bool {
        let now = Instant::now();
        if let Some(providers) = self.keys.get(key)
            && providers.len() >= self.quotas.per_key
        {
            let dead = providers.iter().find(|kept| kept.record.is_expired(now));
            let Some(dead) = dead.map(|kept| kept.record.provider) else { return false };
            self.remove(key, &dead);
        }
        let count = self.count(source);
        if count >= self.quotas.per_source {
            return false;
        }
        if self.total < self.quotas.total {
            return true;
        }
        match self.by_count.last().copied() {
            // Nobody takes from one who has no more than himself.
            Some((most, greediest)) if most > count + 1 => {
                let said = self.sources.get(&greediest);
                let oldest = said.and_then(|said| said.values().next().cloned());
                oldest.is_some_and(|oldest| {
                    self.remove(&oldest, &greediest);
                    true
                })
            }
            _ => false,
        }
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    /// Keeps a record that has been checked.
    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.provider == self.local {
            self.own.insert(record.key);
            return Ok(());
        }
        record.addresses.truncate(RECORD_ADDRESSES);
        let (key, source) = (record.key.clone(), record.provider);
        // Said again: it moves to the end of the source's list.
        Records::remove(self, &key, &source);
        if !self.make_room(&key, &source) {
            return Err(Error::MaxProvidedKeys);
        }
        self.insert(record);
        Ok(())
    }

    /// Some live providers by chance, so that none is asked alone and no list is too long to send.
    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let now = Instant::now();
        let mut alive: Vec<&ProviderRecord> = self
            .keys
            .get(key)
            .into_iter()
            .flatten()
            .map(|kept| &kept.record)
            .filter(|record| !record.is_expired(now))
            .collect();
        alive.shuffle(&mut rand::rng());

        let own = self.own.contains(key).then(|| {
            let addresses = self.own_addresses.iter().take(RECORD_ADDRESSES).cloned().collect();
            ProviderRecord::new(key.clone(), self.local, addresses)
        });
        let mut bytes = 0;
        own.into_iter()
            .chain(alive.into_iter().cloned())
            .take(PROVIDERS_PER_ANSWER)
            .take_while(|record| {
                bytes += wire_len(record);
                bytes <= PROVIDER_BYTES_PER_ANSWER
            })
            .collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let record = |key: &RecordKey| ProviderRecord::new(key.clone(), self.local, Vec::new());
        let provided: Vec<_> = self.own.iter().map(|key| Cow::Owned(record(key))).collect();
        provided.into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.local {
            self.own.remove(key);
        } else {
            Records::remove(self, key, provider);
        }
    }
}

/// Bytes that a provider takes in an answer, at most.
fn wire_len(record: &ProviderRecord) -> usize {
    // A tag and a length before each field, and the connection's state.
    let addresses: usize = record.addresses.iter().map(|address| address.len() + 4).sum();
    record.provider.to_bytes().len() + addresses + 8
}

#[cfg(test)]
mod tests;
