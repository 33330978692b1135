//! A fetch from its first question to the file in its place.

use std::time::Instant;

use hive_api::{ErrorKind, FetchEvent, FetchPeer, FetchRequest, HiveError, Result};
use hive_protocol::{BlockId, Manifest, Name};
use hive_store::{self as store, Fetching, Partial};

use super::blocks::Blocks;
use super::driver::Driver;
use super::{Running, interrupted, sources};
use crate::local::{Local, blocking};
use crate::{errors, fit};

/// Fetches a model and says how it ended. Everything it starts has ended when it returns.
pub(crate) async fn run(
    local: &Local,
    id: BlockId,
    request: &FetchRequest,
    running: &Running,
) -> Result<FetchEvent> {
    let started = Instant::now();
    if let Some(model) = whole(local, id).await? {
        return Ok(done(model, started, Vec::new()));
    }
    running.tell(FetchEvent::Searching { cid: id.to_string() });
    let fetched = fetch(local, id, request, running).await;
    // A partial model may be offered from its first chunk on, and a whole one gets a card.
    local.offers_changed();
    let peers = fetched?;
    let model = whole(local, id).await?.ok_or_else(|| {
        HiveError::new(ErrorKind::Failed, format!("{id} was removed while it was fetched"))
    })?;
    Ok(done(model, started, peers))
}

async fn whole(local: &Local, id: BlockId) -> Result<Option<store::Model>> {
    let store = local.store.clone();
    blocking(move || {
        let model =
            store.get(&id).map_err(|error| errors::store("cannot read the index", &error))?;
        Ok(model.filter(|model| model.state == store::State::Whole))
    })
    .await
}

fn done(model: store::Model, started: Instant, peers: Vec<FetchPeer>) -> FetchEvent {
    FetchEvent::Done {
        cid: model.id.to_string(),
        path: model.path,
        bytes: model.size,
        seconds: started.elapsed().as_secs_f64(),
        peers,
    }
}

async fn fetch(
    local: &Local,
    id: BlockId,
    request: &FetchRequest,
    running: &Running,
) -> Result<Vec<FetchPeer>> {
    let swarm = local.swarm()?;
    // Ends the search with this function, however it ends.
    let cancel = running.cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let found = sources::start(local, swarm, id, request.from.clone(), cancel);
    let mut blocks = Blocks {
        local,
        swarm,
        found,
        peers: Vec::new(),
        liars: Vec::new(),
        running: Some(running),
    };
    let (manifest, files) = tokio::select! {
        // What a cancelled search fails with is not the news.
        biased;
        () = running.cancel.cancelled() => return Err(interrupted(id)),
        described = blocks.manifest(id) => described?,
    };
    let (found, peers) = (blocks.found, blocks.peers);
    let name = name_for(local, id, request);
    let (partial, present) = begin(local, id, manifest, files, &name).await?;
    let size = partial.geometry().size();
    running.tell(FetchEvent::Manifest {
        cid: id.to_string(),
        name: name.to_string(),
        size,
        present,
    });
    let (driver, inbox) = Driver::new(local, swarm, id, partial.clone(), running);
    let begun = Instant::now();
    let ended = driver.run(inbox, peers, found).await;
    let took = begun.elapsed();
    let partial_too = partial.clone();
    // However it ended, what is written is kept.
    let kept = blocking(move || {
        partial_too
            .checkpoint()
            .map_err(|error| errors::store("cannot keep what was fetched", &error))
    })
    .await;
    let report = ended?;
    kept?;
    blocking(move || {
        partial
            .finish()
            .map_err(|error| errors::store("cannot put the model into its place", &error))
    })
    .await?;
    let peers = report.peers(|peer| local.catalog.peer_name(peer));
    let (store, bytes) = (local.store.clone(), peers.iter().map(|peer| peer.bytes).sum());
    blocking(move || {
        fit::record_fetch(&store, bytes, took);
        Ok(())
    })
    .await?;
    Ok(peers)
}

/// What the model is called here: as it was asked for, as the catalog calls it, or by its id.
fn name_for(local: &Local, id: BlockId, request: &FetchRequest) -> Name {
    let asked = (request.model != id.to_string()).then(|| request.model.clone());
    let name = asked.or_else(|| local.catalog.name_of(id)).and_then(|name| name.parse().ok());
    name.unwrap_or_else(|| {
        format!("model-{}", id.short()).parse().expect("letters, digits and a dash make a name")
    })
}

type Files = Vec<(Option<hive_protocol::TreePath>, hive_protocol::FileBlock)>;

async fn begin(
    local: &Local,
    id: BlockId,
    manifest: Manifest,
    files: Files,
    name: &Name,
) -> Result<(Partial, u64)> {
    let (store, name) = (local.store.clone(), name.clone());
    // Other tools know a file by its ending.
    let format = local
        .catalog
        .format_of(id)
        .filter(|format| matches!(format.as_str(), "gguf" | "safetensors"));
    let ending = format
        .map(|format| format!(".{format}"))
        .filter(|end| !name.as_str().ends_with(end.as_str()));
    blocking(move || {
        let full = ending.and_then(|ending| format!("{name}{ending}").parse().ok());
        let file_name = store::file_name_for(full.as_ref().unwrap_or(&name));
        let files = files
            .into_iter()
            .map(|(path, block)| (path.unwrap_or_else(|| file_name.clone()), block));
        let fetching = Fetching {
            id,
            manifest,
            files: files.collect(),
            name,
            // What came from a network is shared with that network.
            visibility: store::Visibility::Public,
            pinned: true,
        };
        let partial = store.begin(&fetching).map_err(|error| begin_error(id, &error))?;
        let have = partial.have();
        let present = have.iter().map(|group| partial.geometry().group_len(group)).sum();
        Ok((partial, present))
    })
    .await
}

fn begin_error(id: BlockId, error: &store::BeginError) -> HiveError {
    match error {
        store::BeginError::NoRoom(_) => {
            HiveError::caused(ErrorKind::NoSpace, format!("no room for {id}"), error)
                .hint("nothing was fetched; free some space (`hive rm`, `hive gc`), or change `quota` or `reserve` with `hive config set`")
        }
        error => errors::store(format!("cannot begin to fetch {id}"), error),
    }
}
