//! Answers peers: blocks, bitmaps and group hashes at once, chunks through the upload slots.
//!
//! Everything goes through the store's visibility, so what is local is as if it were not there. A
//! full queue answers `Busy`; nothing here waits for a peer without a bound.

mod chunks;
mod history;
mod limiter;

use std::sync::Arc;

use hive_api::Result;
use hive_protocol::message::{Have, Request, Response};
use hive_store as store;
use hive_swarm::InboundRequest;
use serde_bytes::ByteBuf;
use tokio::sync::{Semaphore, mpsc};

pub(crate) use chunks::run as serve_chunks;

use crate::announce::ANNOUNCE;
use crate::catalog::Catalog;
use crate::local::{Local, blocking};
use crate::{errors, reach};
use history::History;

/// Questions answered at once; each is a look into the index.
const ANSWERS: usize = 16;
/// When somebody may ask again who could not be answered.
const RETRY_MS: u64 = 500;

/// Answers `model/1` until the node stops.
pub(crate) async fn serve_requests(local: Local, mut requests: mpsc::Receiver<InboundRequest>) {
    let room = Arc::new(Semaphore::new(ANSWERS));
    let history = Arc::new(History::default());
    loop {
        let request = tokio::select! {
            () = local.stop.cancelled() => return,
            request = requests.recv() => request,
        };
        let Some(InboundRequest { peer, request, reply }) = request else { return };
        if matches!(&request, Request::Hello { features } if features.iter().any(|f| f == ANNOUNCE))
        {
            local.asked.notify_one();
        }
        if let Request::Hello { features } = &request {
            local.reach.hear(peer, features);
        }
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (this, history) = (local.clone(), history.clone());
        local.tasks.spawn(async move {
            if matches!(request, Request::Hello { .. }) {
                reply.send(hello(&this).await);
                return drop(permit);
            }
            if let Request::Have { id, .. } = &request {
                this.fetches.asked_by(*id, peer);
            }
            if !this.config.serve {
                reply.send(Response::NotHeld);
                return drop(permit);
            }
            let answer =
                blocking(move || answer(&this.store, &this.catalog, &history, request)).await;
            reply.send(answer.unwrap_or_else(|error| {
                tracing::warn!(%peer, %error, "cannot answer");
                Response::Busy { retry_ms: RETRY_MS }
            }));
            drop(permit);
        });
    }
}

/// What this node is and can.
async fn hello(local: &Local) -> Response {
    let mut features = Vec::new();
    if local.config.serve {
        features.push(ANNOUNCE.into());
    }
    if let Some(swarm) = &local.swarm {
        features.extend(reach::features(&swarm.network_state().await));
    }
    Response::Hello { features, agent: crate::AGENT.into() }
}

fn answer(
    store: &store::Store,
    catalog: &Catalog,
    history: &History,
    request: Request,
) -> Result<Response> {
    let index = |error: store::IndexError| errors::store("cannot read the index", &error);
    Ok(match request {
        Request::Block(id) => match store.block_for_peer(&id).map_err(index)? {
            Some(bytes) => Response::Block(ByteBuf::from(bytes)),
            // Nobody could answer all who hear of a list from others, so each asks who told it.
            None => match catalog.list(&id) {
                Some(list) => Response::Block(ByteBuf::from(list)),
                None => Response::NotHeld,
            },
        },
        Request::Have { id, since } => match store.offer(&id).map_err(index)? {
            Some(offer) => {
                // The version first: a group that comes between is told twice rather than never.
                let version = offer.version();
                Response::Have(Have {
                    version,
                    groups: history.since(id, since, version, &offer.have()),
                })
            }
            None => Response::NotHeld,
        },
        Request::GroupHashes(chunks) => {
            let hashes = chunks.iter().map(|chunk| {
                let hashes = store.group_hashes(chunk).map_err(index)?.unwrap_or_default();
                Ok(ByteBuf::from(hashes.concat()))
            });
            Response::GroupHashes(hashes.collect::<Result<_>>()?)
        }
        Request::HaveChunks(chunks) => {
            let mut bits = vec![0u8; chunks.len().div_ceil(8)];
            for (at, held) in store.have_chunks(&chunks).map_err(index)?.into_iter().enumerate() {
                bits[at / 8] |= u8::from(held) << (at % 8);
            }
            Response::HaveChunks(ByteBuf::from(bits))
        }
        // The swarm answers these itself where there is an admin to ask.
        Request::Redeem(_) => Response::Unsupported,
        // Answered before: it is no look into the store.
        Request::Hello { .. } => Response::Unsupported,
    })
}
