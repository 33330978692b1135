//! The tasks of a node in a private network: what changes is kept, who was invited is let in.

use std::time::Duration;

use hive_api::Result;
use hive_swarm::{Kept, RedeemRequest};
use tokio::sync::mpsc;

use super::Current;
use super::invites::shown;
use crate::local::{Local, blocking, now};

/// When to try again what the disk refused.
const RETRY: Duration = Duration::from_secs(5);

/// Begins the tasks, if the node is in a private network.
pub(crate) fn spawn(local: &Local) {
    let Some(current) = &local.networks.current else { return };
    local.tasks.spawn(keep(local.clone()));
    let requests = current.requests.lock().ok().and_then(|mut requests| requests.take());
    if let Some(requests) = requests {
        local.tasks.spawn(serve(local.clone(), requests));
    }
}

/// Keeps certificate and revocations on the disk until the node stops, and once more then.
async fn keep(local: Local) {
    let Some(current) = &local.networks.current else { return };
    let mut changes = current.membership.kept();
    loop {
        let kept = changes.borrow_and_update().clone();
        let this = local.clone();
        let saved = blocking(move || save(&this, kept)).await;
        if let Err(error) = &saved {
            tracing::error!(%error, "what this node has of its private network is not kept");
        }
        tokio::select! {
            () = local.stop.cancelled() => {
                let (this, kept) = (local.clone(), changes.borrow_and_update().clone());
                if let Err(error) = blocking(move || save(&this, kept)).await {
                    tracing::error!(%error, "what this node has of its private network is not kept");
                }
                return;
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(RETRY), if saved.is_err() => {}
        }
    }
}

fn save(local: &Local, kept: Kept) -> Result<()> {
    let Some(Current { known, membership, .. }) = &local.networks.current else { return Ok(()) };
    let _writing = local.networks.lock();
    if let Some(certificate) = kept.certificate
        && known.certificate()?.as_ref() != Some(&certificate)
    {
        known.keep_certificate(&certificate)?;
    }
    // Whoever held the lock may have signed a newer list meanwhile.
    let revocations = membership.kept().borrow().revocations.clone();
    if let Some(list) = revocations
        && known.revocations()?.as_ref() != Some(&list)
    {
        known.keep_revocations(&list)?;
    }
    Ok(())
}

/// Redeems invites until the node stops, one after another.
async fn serve(local: Local, mut requests: mpsc::Receiver<RedeemRequest>) {
    loop {
        let request = tokio::select! {
            () = local.stop.cancelled() => return,
            request = requests.recv() => request,
        };
        let Some(RedeemRequest { redemption, from, reply }) = request else { return };
        let (this, node) = (local.clone(), redemption.node);
        let answer = blocking(move || {
            let Some(current) = &this.networks.current else { return Ok(None) };
            let Some(desk) = &current.desk else { return Ok(None) };
            let now = now();
            desk.redeem(&redemption, &current.revoked(now)?, now).map(Some)
        });
        match answer.await {
            Ok(Some(answer)) => {
                let node = shown(node);
                match &answer {
                    Ok(_) => tracing::info!(%node, %from, "an invite was redeemed"),
                    Err(reason) => {
                        tracing::info!(%node, %from, %reason, "an invite was not redeemed");
                    }
                }
                // Whoever asked may have left; it asks again and gets the same.
                let _ = reply.send(answer);
            }
            Ok(None) => {}
            // Without a reply the invitee is told to come again.
            Err(error) => tracing::error!(%error, "cannot redeem an invite"),
        }
    }
}
