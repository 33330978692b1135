//! An admin's desk: makes invites, redeems them, revokes.
//!
//! Works on the home's files, so it is the same whether the node runs or not. It never waits for the
//! network; callers are off its threads.
//!
//! Invariant: what was decided is on the disk before anybody is told, and nothing on the disk holds
//! an invite's secret.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::SigningKey;
use hive_api::{ErrorKind, HiveError, InviteSummary, Result};
use hive_protocol::limits::MEMBERSHIP_TTL_SECS;
use hive_protocol::membership::{
    Certificate, InviteSecret, Redemption, Refusal, RevocationList, Role, Serial,
};

use super::disk;
use super::invites::{Book, Issued, Judged, Terms};
use super::known::Known;
use super::limits::{BOOK_LEN, INVITE_PREFIX, INVITES};

/// See the module. `Debug` shows no key.
pub(crate) struct Desk {
    known: Known,
    secret: SigningKey,
    book: Mutex<Book>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("network", &self.known.id).finish_non_exhaustive()
    }
}

impl Desk {
    /// The desk of a network whose secret key is here; `None` if it is not.
    pub(crate) fn open(known: &Known) -> Result<Option<Self>> {
        let Some(secret) = known.secret()? else { return Ok(None) };
        let path = known.invites_path();
        let book = match disk::read(&path, BOOK_LEN)? {
            None => Book::default(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .ok()
                .filter(Book::is_known_version)
                .ok_or_else(|| {
                    let message = format!("`{}` is damaged, or of a newer hive", path.display());
                    HiveError::new(ErrorKind::Failed, message).hint(
                        "restore it from a backup; without it, invites that are out are not known any more",
                    )
                })?,
        };
        Ok(Some(Self { known: known.clone(), secret, book: Mutex::new(book) }))
    }

    /// The network.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Makes an invite and says what it is; its secret goes into the code and nowhere else.
    pub(crate) fn invite(&self, terms: Terms, now: u64) -> Result<(InviteSecret, InviteSummary)> {
        let secret = InviteSecret(rand::random());
        let mut book = self.book();
        let mut next = book.clone();
        let summary = next.add(secret.invite(), terms, now).ok_or_else(|| {
            let message = format!("there are {INVITES} invites, which is all that are kept");
            HiveError::new(ErrorKind::Refused, message)
                .hint("let one invite in more nodes (`--uses N`), or take some back (`hive invite revoke`)")
        })?;
        self.keep(&mut book, next)?;
        Ok((secret, summary))
    }

    /// Redeems an invite: a certificate, or why there is none.
    pub(crate) fn redeem(
        &self,
        redemption: &Redemption,
        revoked: &RevocationList,
        now: u64,
    ) -> Result<std::result::Result<Vec<u8>, Refusal>> {
        let mut book = self.book();
        let (at, role, member_secs) =
            match book.judge(redemption, |serial| revoked.revokes(serial), now) {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(Judged::Again(certificate)) => return Ok(Ok(certificate)),
                Ok(Judged::New { at, role, member_secs }) => (at, role, member_secs),
            };
        let expires = now.saturating_add(member_secs.min(MEMBERSHIP_TTL_SECS));
        let serial = Serial(rand::random());
        let certificate = Certificate::new(redemption.node, role, serial, now, expires);
        let signed = certificate.sign(&self.secret);
        let mut next = book.clone();
        next.admit(at, &certificate, signed.clone());
        self.keep(&mut book, next)?;
        Ok(Ok(signed))
    }

    /// Takes an invite back.
    pub(crate) fn withdraw(
        &self,
        text: &str,
        revoked: &RevocationList,
        now: u64,
    ) -> Result<InviteSummary> {
        let mut book = self.book();
        let at = book.find(text).map_err(|n| {
            let message = match n {
                0 => format!("no invite `{text}` was made here"),
                n => format!("`{text}` begins {n} invites"),
            };
            HiveError::new(ErrorKind::Usage, message).hint(format!(
                "`hive invite ls` lists them; {INVITE_PREFIX} characters or more name one"
            ))
        })?;
        let mut next = book.clone();
        next.withdraw(at);
        self.keep(&mut book, next)?;
        let summary = book.summary(at, now, |serial| revoked.revokes(serial));
        Ok(summary.expect("it was found just now"))
    }

    /// Signs the next revocation list, if there are serials that are not revoked yet, and takes back
    /// the invites that the revoked came in with. The list is on the disk when this returns.
    pub(crate) fn revoke(
        &self,
        serials: &[Serial],
        revoked: &RevocationList,
        now: u64,
    ) -> Result<(Option<Vec<u8>>, Vec<String>)> {
        let is_new = serials.iter().any(|serial| !revoked.revokes(serial));
        // The list first: it is what keeps the revoked out.
        let signed = if is_new { Some(self.sign_list(serials, revoked, now)?) } else { None };
        let mut book = self.book();
        let mut next = book.clone();
        let withdrawn = next.withdraw_of(serials, now);
        if !withdrawn.is_empty() {
            self.keep(&mut book, next)?;
        }
        Ok((signed, withdrawn))
    }

    fn sign_list(&self, serials: &[Serial], revoked: &RevocationList, now: u64) -> Result<Vec<u8>> {
        let expires = now.saturating_add(MEMBERSHIP_TTL_SECS);
        let list = revoked.next(serials.iter().copied(), now, expires).map_err(|error| {
            HiveError::caused(
                ErrorKind::Refused,
                "the network cannot revoke more certificates",
                &error,
            )
            .hint("make a new network and invite those who may stay")
        })?;
        let signed = list.sign(&self.secret);
        self.known.keep_revocations(&signed)?;
        Ok(signed)
    }

    /// Every certificate that came of an invite that was made here.
    pub(crate) fn issued(&self) -> Vec<Issued> {
        self.book().issued().collect()
    }

    /// The invites, the newest first.
    pub(crate) fn summaries(&self, revoked: &RevocationList, now: u64) -> Vec<InviteSummary> {
        self.book().summaries(now, |serial| revoked.revokes(serial))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What is in it was written to the disk, whatever happened to its last holder.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the disk first, then in memory.
    fn keep(&self, book: &mut Book, next: Book) -> Result<()> {
        let bytes = serde_json::to_vec(&next).expect("texts and numbers are JSON");
        disk::write(&self.known.invites_path(), &bytes)?;
        *book = next;
        Ok(())
    }
}

/// What an invite may let in as: whoever has the network's key is an admin, and no invite gives it.
pub(crate) fn role_of(role: hive_api::MemberRole) -> Result<Role> {
    match role {
        hive_api::MemberRole::Member => Ok(Role::Member),
        hive_api::MemberRole::Relay => Ok(Role::Relay),
        hive_api::MemberRole::Admin => {
            let message = "an invite cannot make an admin";
            Err(HiveError::new(ErrorKind::Usage, message).hint(
                "an admin is who has the network's secret key: docs/operations.md says how to copy it to a second machine",
            ))
        }
    }
}
