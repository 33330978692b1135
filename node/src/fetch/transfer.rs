//! One request to one peer, from the question to the last group on disk.
//!
//! Proofs first: a chunk's group hashes are had from the same peer and folded before its groups are
//! asked for. Then each group is verified and written on a blocking thread, a few at once, so that
//! hashing and the disk never hold up the connection. What happened is told as [`Note`]s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hive_fetch::{Asked, End, PeerIx, RequestId};
use hive_protocol::chunk_message::{ChunkRequest, Range, Status};
use hive_protocol::group::GroupProof;
use hive_protocol::limits::{CHUNKS_PER_HASH_REQUEST, GROUP_LEN};
use hive_protocol::message::{Request, Response};
use hive_protocol::{BlockId, ChunkId};
use hive_store::{Partial, WriteError};
use hive_swarm::{Client, ExchangeEvent, FetchError, Peer};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::relayed::{Allowance, Spending};

/// Groups of one request that are verified and written at once: what goes past the page cache waits
/// for the disk.
const WRITES: usize = 8;
/// How long a connection that closes may take to be known as closed.
const CLOSING: Duration = Duration::from_millis(500);
/// How often a request goes on over another connection with the same peer.
const MOVES: u32 = 4;
/// Chunks whose hashes are had along with those that are needed now.
const PROOFS_AHEAD: usize = 32;

/// What a transfer tells the driver.
#[derive(Debug)]
pub(crate) enum Note {
    /// The peer granted this much.
    Granted { request: RequestId, ranges: Vec<Asked>, have: u64 },
    /// Bytes of the request so far, for the peer's rate.
    Received { request: RequestId, bytes: u64 },
    /// A group is verified and written.
    Verified { request: RequestId, group: u32 },
    /// The peer sent something that no honest one would.
    Bad { request: RequestId, group: u32, reason: String },
    /// The group could not be written.
    Disk(WriteError),
    /// The peer took too long or broke off, which may be anybody's fault.
    Fault { request: RequestId, reason: String },
    /// The peer is reached through a relay only, and not so much may come that way.
    OnlyRelayed {
        request: RequestId,
        /// Whether the relay would let it through.
        offered: bool,
    },
    /// The request is over.
    Ended { request: RequestId, end: End },
}

/// A request on its way.
pub(crate) struct Transfer {
    pub(crate) id: RequestId,
    pub(crate) peer: Peer,
    pub(crate) ix: PeerIx,
    pub(crate) model: BlockId,
    pub(crate) asked: Vec<Asked>,
    pub(crate) partial: Partial,
    pub(crate) swarm: Client,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) writes: TaskTracker,
    pub(crate) relayed: Arc<Allowance>,
    /// The last group that is wanted of those asked for, in the order asked; the driver moves it
    /// forward.
    pub(crate) last: Arc<AtomicU32>,
}

/// Why a transfer cannot go on.
enum Stop {
    Bad { group: u32, reason: String },
    Fault(String),
    OnlyRelayed { offered: bool },
    End(End),
}

impl Transfer {
    /// Runs to the end. Dropping it drops the stream; groups that are being written are still told.
    pub(crate) async fn run(self) {
        let request = self.id;
        let note = match self.transfer().await {
            Ok(()) => Note::Ended { request, end: End::Done },
            Err(Stop::End(end)) => Note::Ended { request, end },
            Err(Stop::Bad { group, reason }) => Note::Bad { request, group, reason },
            Err(Stop::Fault(reason)) => Note::Fault { request, reason },
            Err(Stop::OnlyRelayed { offered }) => Note::OnlyRelayed { request, offered },
        };
        // A driver that is gone needs no note.
        let _ = self.notes.send(note).await;
    }

    fn first_group(&self) -> u32 {
        let asked = self.asked[0];
        self.partial.geometry().chunks()[asked.chunk].first_group + asked.first
    }

    /// Whether nothing that follows a group is wanted.
    fn is_last(&self, group: u32) -> bool {
        let chunks = self.partial.geometry().chunks();
        let groups = self.asked.iter().flat_map(|asked| {
            let first = chunks[asked.chunk].first_group + asked.first;
            first..first + asked.n
        });
        is_last(groups, group, self.last.load(Ordering::Relaxed))
    }

    async fn transfer(&self) -> Result<(), Stop> {
        self.prove().await?;
        let chunks = self.partial.geometry().chunks();
        let range = |asked: &Asked| Range {
            chunk: chunks[asked.chunk].id,
            size: chunks[asked.chunk].size,
            first: asked.first,
            n: asked.n,
        };
        let mut asked = self.asked.clone();
        let request = ChunkRequest::new(self.model, asked.iter().map(range).collect());
        let (mut events, mut spending) = self.open(request).await?;
        let writes = Arc::new(Semaphore::new(WRITES));
        // Of a group that is not whole yet; it is counted with what came before.
        let (mut received, mut part) = (0, 0);
        let (mut moves, mut came) = (0, Vec::new());
        let ended = loop {
            let Some(event) = events.recv().await else { break Err(Stop::End(End::Failed)) };
            match event {
                ExchangeEvent::Header(header) => match header.status {
                    Status::Ok => {
                        let ranges = header.ranges.iter().filter_map(|range| {
                            let chunk = self.partial.geometry().position(&range.chunk)?;
                            Some(Asked { chunk, first: range.first, n: range.n })
                        });
                        asked = ranges.collect();
                        let note = Note::Granted {
                            request: self.id,
                            // What came before the request moved was granted too.
                            ranges: came.iter().chain(&asked).copied().collect(),
                            have: header.have,
                        };
                        self.tell(note).await?;
                    }
                    Status::Busy => break Err(Stop::End(End::Busy { retry_ms: header.retry_ms })),
                    Status::NotHeld => break Err(Stop::End(End::NotHeld)),
                    Status::Unsupported => break Err(Stop::End(End::Unsupported)),
                },
                ExchangeEvent::Part(bytes) => {
                    part += bytes;
                    self.tell(Note::Received { request: self.id, bytes: received + part }).await?;
                }
                ExchangeEvent::Group { chunk, index, bytes } => {
                    received += bytes.len() as u64;
                    part = 0;
                    if let Some(spending) = &mut spending {
                        spending.spend(bytes.len() as u64);
                    }
                    self.tell(Note::Received { request: self.id, bytes: received }).await?;
                    let Some(position) = self.partial.geometry().position(&chunk) else {
                        break Err(Stop::End(End::Failed));
                    };
                    let group = self.partial.geometry().chunks()[position].first_group + index;
                    came.push(Asked { chunk: position, first: index, n: 1 });
                    arrived(&mut asked, position, index);
                    let permit =
                        writes.clone().acquire_owned().await.map_err(|_| Stop::End(End::Failed))?;
                    let (partial, notes, request) =
                        (self.partial.clone(), self.notes.clone(), self.id);
                    self.writes.spawn_blocking(move || {
                        let note = match partial.write(group, &bytes) {
                            Ok(()) => Note::Verified { request, group },
                            Err(WriteError::Mismatch { .. }) => Note::Bad {
                                request,
                                group,
                                reason: "sent a group with another hash".into(),
                            },
                            Err(error) => Note::Disk(error),
                        };
                        drop(bytes);
                        // The permit goes last: who has them all knows that every note was sent.
                        let _ = notes.blocking_send(note);
                        drop(permit);
                    });
                    if self.is_last(group) {
                        break Ok(());
                    }
                }
                ExchangeEvent::End => break Ok(()),
                ExchangeEvent::Failed(hive_swarm::Failure::Withdrawn) if moves < MOVES => {
                    if asked.is_empty() {
                        break Ok(());
                    }
                    (moves, part) = (moves + 1, 0);
                    let request = ChunkRequest::new(self.model, asked.iter().map(range).collect());
                    match self.open(request).await {
                        Ok(opened) => (events, spending) = opened,
                        Err(stop) => break Err(stop),
                    }
                }
                ExchangeEvent::Failed(failure) if failure.is_forged() => {
                    break Err(Stop::Bad {
                        group: self.first_group(),
                        reason: failure.to_string(),
                    });
                }
                ExchangeEvent::Failed(failure) if is_slow(&failure) => {
                    break Err(Stop::Fault(failure.to_string()));
                }
                ExchangeEvent::Failed(hive_swarm::Failure::Short) => {
                    // A connection that closes ends its streams first: give it time to be seen.
                    tokio::time::sleep(CLOSING).await;
                    let here = self.swarm.connected().await.contains(&self.peer);
                    break Err(if here {
                        Stop::Fault("sent less than it had granted".into())
                    } else {
                        Stop::End(End::Failed)
                    });
                }
                ExchangeEvent::Failed(hive_swarm::Failure::Unsupported) => {
                    break Err(Stop::End(End::Unsupported));
                }
                ExchangeEvent::Failed(failure) => {
                    tracing::debug!(peer = %self.peer, ix = self.ix.0, error = %failure, "a request failed");
                    break Err(Stop::End(End::Failed));
                }
            }
        };
        // The stream goes first, then the writes end: their notes come before the last one.
        drop(events);
        let _all_written = writes.acquire_many(WRITES as u32).await;
        ended
    }

    /// Asks over a direct connection; over a relayed one if there is no other and it is allowed.
    async fn open(
        &self,
        request: ChunkRequest,
    ) -> Result<(mpsc::Receiver<ExchangeEvent>, Option<Spending>), Stop> {
        let failed = |error: FetchError| {
            tracing::debug!(peer = %self.peer, %error, "cannot ask");
            Stop::End(End::Failed)
        };
        let offered = match self.swarm.fetch_groups(self.peer, request.clone(), false).await {
            Ok(events) => return Ok((events, None)),
            Err(FetchError::OnlyRelayed { offered, .. }) => offered,
            Err(error) => return Err(failed(error)),
        };
        let spending = offered.then(|| self.relayed.take(request.payload_len())).flatten();
        let spending = spending.ok_or(Stop::OnlyRelayed { offered })?;
        match self.swarm.fetch_groups(self.peer, request, true).await {
            Ok(events) => Ok((events, Some(spending))),
            Err(FetchError::OnlyRelayed { offered, .. }) => Err(Stop::OnlyRelayed { offered }),
            Err(error) => Err(failed(error)),
        }
    }

    async fn tell(&self, note: Note) -> Result<(), Stop> {
        self.notes.send(note).await.map_err(|_| Stop::End(End::Cancelled))
    }

    /// Gets and proves the group hashes that the request needs, and some that will be needed next.
    async fn prove(&self) -> Result<(), Stop> {
        let chunks = self.partial.geometry().chunks();
        let lacks = |position: &usize| self.partial.proof(*position).is_none();
        let mut wanted: Vec<usize> =
            self.asked.iter().map(|asked| asked.chunk).filter(lacks).collect();
        wanted.dedup();
        let Some(&last) = wanted.iter().max() else { return Ok(()) };
        let needed = wanted.len();
        let ahead = (last + 1..chunks.len()).filter(lacks).take(PROOFS_AHEAD);
        wanted.extend(ahead);
        wanted.truncate(CHUNKS_PER_HASH_REQUEST);
        let ids: Vec<ChunkId> = wanted.iter().map(|&position| chunks[position].id).collect();
        let lists = match self.swarm.request(self.peer, Request::GroupHashes(ids)).await {
            Ok(Response::GroupHashes(lists)) if lists.len() == wanted.len() => lists,
            Ok(Response::NotHeld) => return Err(Stop::End(End::NotHeld)),
            Ok(Response::Busy { retry_ms }) => return Err(Stop::End(End::Busy { retry_ms })),
            Ok(Response::Unsupported) => return Err(Stop::End(End::Unsupported)),
            Ok(_) => return Err(self.forged("answered another question")),
            Err(hive_swarm::RequestError::Malformed(_)) => {
                return Err(self.forged("sent a malformed answer"));
            }
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "no group hashes");
                return Err(Stop::End(End::Failed));
            }
        };
        for (at, (position, list)) in wanted.into_iter().zip(lists).enumerate() {
            let chunk = chunks[position];
            if list.is_empty() && chunk.size > GROUP_LEN {
                if at < needed {
                    return Err(Stop::End(End::NotHeld));
                }
                continue;
            }
            let hashes =
                list.chunks_exact(32).map(|hash| hash.try_into().expect("32 bytes each")).collect();
            match GroupProof::verify(chunk.id, chunk.size, hashes) {
                Ok(proof) => {
                    self.partial.put_proof(proof);
                }
                // Of what was asked ahead nothing follows: the manifest may be wrong there.
                Err(_) if at >= needed => {}
                Err(_) => {
                    return Err(self.forged("sent group hashes that do not fold to the chunk"));
                }
            }
        }
        Ok(())
    }

    fn forged(&self, reason: &str) -> Stop {
        Stop::Bad { group: self.first_group(), reason: reason.into() }
    }
}

/// Whether a group is the `last` one or comes after it, in the order in which they were asked for.
fn is_last(mut asked: impl Iterator<Item = u32>, group: u32, last: u32) -> bool {
    asked.find(|asked| [group, last].contains(asked)) == Some(last)
}

/// Takes a group off the front of what is to come.
fn arrived(asked: &mut Vec<Asked>, chunk: usize, index: u32) {
    for range in asked.iter_mut().filter(|range| range.chunk == chunk && range.first == index) {
        range.first += 1;
        range.n -= 1;
    }
    asked.retain(|range| range.n > 0);
}

fn is_slow(failure: &hive_swarm::Failure) -> bool {
    use hive_swarm::Failure;
    matches!(failure, Failure::FirstByteTimeout | Failure::Stalled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody waits for is asked for first, wherever it stands.
    #[test]
    fn a_request_is_read_up_to_its_last_group_in_the_order_asked() {
        let asked = [10, 11, 3, 4];
        let ends = |last| asked.map(|group| is_last(asked.into_iter(), group, last));
        assert_eq!(ends(3), [false, false, true, true]);
        assert_eq!(ends(10), [true; 4]);
        assert_eq!(ends(4), [false, false, false, true]);
        assert_eq!(ends(u32::MAX), [false; 4], "nothing was taken away");
    }

    #[test]
    fn what_has_arrived_is_not_asked_again() {
        let asked = |chunk, first, n| Asked { chunk, first, n };
        let mut left = vec![asked(0, 5, 2), asked(3, 0, 2)];
        arrived(&mut left, 0, 5);
        assert_eq!(left, [asked(0, 6, 1), asked(3, 0, 2)]);
        arrived(&mut left, 0, 6);
        arrived(&mut left, 3, 0);
        assert_eq!(left, [asked(3, 1, 1)]);
        // A group that is not next was not asked for.
        arrived(&mut left, 3, 7);
        assert_eq!(left, [asked(3, 1, 1)]);
    }
}
