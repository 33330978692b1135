//! The private networks that a home knows: one directory each, `networks/<id>/`.
//!
//! | file | what |
//! |---|---|
//! | `network.json` | name, public key, addresses to join through |
//! | `secret.key` | the network's secret key, 32 bytes; only in an admin's home |
//! | `certificate` | this node's certificate |
//! | `revocations` | the newest revocation list that this node has seen |
//! | `invitation` | an invite's secret, until it is redeemed |
//! | `invites.json` | invites that were made here; only in an admin's home |
//!
//! Nothing that a peer or a code says becomes part of a path: a directory's name is the hash of the
//! network's key.
//!
//! Invariant: a directory counts only if `network.json` in it holds the key that its name is the
//! hash of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use hive_api::{ErrorKind, HiveError, Result};
use hive_protocol::NodeKey;
use hive_protocol::limits::MEMBERSHIP_TTL_SECS;
use hive_protocol::membership::{
    Certificate, InviteCode, InviteSecret, NetworkId, NetworkKey, RevocationList, Role, Serial,
};
use serde::{Deserialize, Serialize};

use super::disk;
use super::limits::{ADDRESSES, FILE_LEN, ID_PREFIX, NETWORKS, RECORD_LEN};
use crate::keys;
use crate::names;

/// Where the networks are in a home.
const DIR: &str = "networks";
/// What a directory's name begins with while it is being removed.
const LEAVING: &str = "leaving-";
/// The public network's name by default. It never means a private one, or who says nothing would
/// get into that.
const PUBLIC: &str = "main";

const RECORD: &str = "network.json";
const SECRET: &str = "secret.key";
const CERTIFICATE: &str = "certificate";
const REVOCATIONS: &str = "revocations";
const INVITATION: &str = "invitation";
const INVITES: &str = "invites.json";

/// What `network.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    v: u32,
    name: String,
    key: String,
    addresses: Vec<String>,
}

/// A private network that the home knows. `Debug` shows no key.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Its public name.
    pub(crate) id: NetworkId,
    /// What its owner calls it.
    pub(crate) name: String,
    /// Its public key.
    pub(crate) key: NetworkKey,
    /// Full addresses to join through.
    pub(crate) addresses: Vec<String>,
    dir: PathBuf,
}

impl Known {
    /// Makes a network: a new key, and this node as its first member.
    pub(crate) fn create(
        home: &Path,
        name: &str,
        addresses: Vec<String>,
        node: NodeKey,
        now: u64,
    ) -> Result<Self> {
        check_name(name)?;
        let known = list(home)?;
        if let Some(same) = known.iter().find(|known| known.name == name) {
            let message =
                format!("this home knows a private network `{name}` already ({})", same.id);
            return Err(HiveError::new(ErrorKind::Usage, message).hint(
                "give the new one another name; `hive network ls` lists those that are here",
            ));
        }
        room(&known)?;
        let secret = SigningKey::from_bytes(&rand::random());
        let key = NetworkKey::of(&secret);
        let dir = home.join(DIR).join(key.id().to_string());
        let this = Self { id: key.id(), name: name.to_owned(), key, addresses, dir };
        disk::make_dir(&this.dir)?;
        // The record comes last: without it there is no network.
        disk::write(&this.dir.join(SECRET), secret.as_bytes())?;
        this.certify_self(&secret, node, now)?;
        this.save()?;
        Ok(this)
    }

    /// Takes an invite's code, to be redeemed. What the home has of the network already stays.
    pub(crate) fn accept(home: &Path, code: &InviteCode) -> Result<Self> {
        let id = code.network.id();
        let all = list(home)?;
        let known = all.iter().find(|known| known.id == id).cloned();
        let mut this = if let Some(known) = known {
            known
        } else {
            room(&all)?;
            let name = names::claim(&code.name).unwrap_or_else(|| "unnamed".to_owned());
            let dir = home.join(DIR).join(id.to_string());
            Self { id, name, key: code.network, addresses: Vec::new(), dir }
        };
        this.remember(&code.addresses);
        disk::make_dir(&this.dir)?;
        disk::write(&this.dir.join(INVITATION), &code.secret.0)?;
        this.save()?;
        Ok(this)
    }

    fn load(dir: PathBuf, id: NetworkId) -> Result<Option<Self>> {
        let path = dir.join(RECORD);
        let Some(bytes) = disk::read(&path, RECORD_LEN)? else { return Ok(None) };
        let damaged = |why: String| {
            HiveError::new(ErrorKind::Failed, format!("`{}` is damaged: {why}", path.display()))
                .hint(
                    "restore the directory from a backup, or remove it and join with a new invite",
                )
        };
        let Record { v, name, key, addresses } =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if v != 1 {
            return Err(damaged(format!("version {v}, which a newer hive wrote")));
        }
        let key = hex::decode(key).ok().and_then(|bytes| bytes.try_into().ok());
        let key = key.and_then(NetworkKey::from_bytes).filter(|key| key.id() == id);
        let key = key.ok_or_else(|| damaged("its key is not the one of the directory".into()))?;
        Ok(Some(Self { id, name, key, addresses, dir }))
    }

    fn save(&self) -> Result<()> {
        let record = Record {
            v: 1,
            name: self.name.clone(),
            key: hex::encode(self.key.to_bytes()),
            addresses: self.addresses.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&record).expect("texts and numbers are JSON");
        disk::write(&self.dir.join(RECORD), &bytes)
    }

    /// Keeps addresses, the newest first.
    fn remember(&mut self, addresses: &[String]) {
        let older = std::mem::take(&mut self.addresses);
        for address in addresses.iter().chain(&older) {
            if self.addresses.len() < ADDRESSES && !self.addresses.contains(address) {
                self.addresses.push(address.clone());
            }
        }
    }

    /// The network's secret key, in an admin's home.
    pub(crate) fn secret(&self) -> Result<Option<SigningKey>> {
        let path = self.dir.join(SECRET);
        let secret = keys::read(&path).map_err(|error| {
            HiveError::caused(ErrorKind::Failed, "cannot use the network's secret key", &error)
                .hint(
                    "restore the file from a backup, or make it readable to you alone (chmod 600)",
                )
        })?;
        if secret.as_ref().is_some_and(|secret| NetworkKey::of(secret) != self.key) {
            let message = format!("`{}` is the key of another network", path.display());
            return Err(HiveError::new(ErrorKind::Failed, message)
                .hint("restore the file from a backup of this network"));
        }
        Ok(secret)
    }

    /// Whether the network's secret key is here.
    pub(crate) fn has_secret(&self) -> bool {
        self.dir.join(SECRET).exists()
    }

    /// This node's certificate.
    pub(crate) fn certificate(&self) -> Result<Option<Vec<u8>>> {
        disk::read(&self.dir.join(CERTIFICATE), FILE_LEN)
    }

    /// Keeps this node's certificate. The invite that it was made of is of no more use.
    pub(crate) fn keep_certificate(&self, certificate: &[u8]) -> Result<()> {
        disk::write(&self.dir.join(CERTIFICATE), certificate)?;
        disk::remove(&self.dir.join(INVITATION))
    }

    /// Signs a certificate of an admin for this node, and keeps it.
    pub(crate) fn certify_self(
        &self,
        secret: &SigningKey,
        node: NodeKey,
        now: u64,
    ) -> Result<Vec<u8>> {
        let serial = Serial(rand::random());
        let expires = now.saturating_add(MEMBERSHIP_TTL_SECS);
        let certificate = Certificate::new(node, Role::Admin, serial, now, expires).sign(secret);
        self.keep_certificate(&certificate)?;
        Ok(certificate)
    }

    /// The newest revocation list, if there is one.
    pub(crate) fn revocations(&self) -> Result<Option<Vec<u8>>> {
        disk::read(&self.dir.join(REVOCATIONS), FILE_LEN)
    }

    /// Keeps a newer revocation list.
    pub(crate) fn keep_revocations(&self, list: &[u8]) -> Result<()> {
        disk::write(&self.dir.join(REVOCATIONS), list)
    }

    /// The revocation list, read.
    pub(crate) fn revoked(&self, now: u64) -> Result<RevocationList> {
        let mut list = RevocationList::new(self.key);
        if let Some(bytes) = self.revocations()? {
            list.merge(&bytes, now).map_err(|error| {
                let path = self.dir.join(REVOCATIONS);
                let message = format!("`{}` is damaged", path.display());
                HiveError::caused(ErrorKind::Failed, message, &error)
                    .hint("remove it: other members have the list, and give it to this node again")
            })?;
        }
        Ok(list)
    }

    /// An invite that is not redeemed yet.
    pub(crate) fn invitation(&self) -> Result<Option<InviteSecret>> {
        let bytes = disk::read(&self.dir.join(INVITATION), FILE_LEN)?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(InviteSecret))
    }

    /// Forgets an invite that will not be redeemed, and the network if nothing else is known of it.
    pub(crate) fn forget_invitation(&self) -> Result<()> {
        if self.certificate()?.is_none() && !self.has_secret() {
            return self.forget();
        }
        disk::remove(&self.dir.join(INVITATION))
    }

    /// Where the invites are that were made here.
    pub(crate) fn invites_path(&self) -> PathBuf {
        self.dir.join(INVITES)
    }

    /// Forgets the network.
    pub(crate) fn forget(&self) -> Result<()> {
        disk::remove_dir(&self.dir, &self.dir.with_file_name(format!("{LEAVING}{}", self.id)))
    }
}

/// The networks of a home, by name and id. Removes what a crash left of one that was being left.
pub(crate) fn list(home: &Path) -> Result<Vec<Known>> {
    let dir = home.join(DIR);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk::cannot("read", &dir, &error)),
    };
    let mut known = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| disk::cannot("read", &dir, &error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.strip_prefix(LEAVING).is_some_and(|id| id.parse::<NetworkId>().is_ok()) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(|error| disk::cannot("remove", &path, &error))?;
        } else if let Ok(id) = name.parse() {
            known.extend(Known::load(entry.path(), id)?);
        }
    }
    known.sort_by(|a: &Known, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(known)
}

/// The private network that a setting names, by id or by its name; `None` if it names a public one.
pub(crate) fn named(home: &Path, text: &str) -> Result<Option<Known>> {
    // Neither needs a look at the others, of which one may be damaged.
    if text == PUBLIC {
        return Ok(None);
    }
    if let Ok(id) = text.parse::<NetworkId>() {
        return Known::load(home.join(DIR).join(id.to_string()), id);
    }
    only(list(home)?.into_iter().filter(|known| known.name == text).collect(), text)
}

/// The network that a user means: by name, by its id or the beginning of it, or by nothing if it is
/// the current one or the only one.
pub(crate) fn meant(home: &Path, text: Option<&str>, current: Option<NetworkId>) -> Result<Known> {
    let mut known = list(home)?;
    let found = match (text, current) {
        (Some(text), _) => {
            let by_name: Vec<_> =
                known.iter().filter(|known| known.name == text).cloned().collect();
            if by_name.is_empty() && text.len() >= ID_PREFIX {
                known.retain(|known| known.id.to_string().starts_with(text));
                only(known, text)?
            } else {
                only(by_name, text)?
            }
        }
        (None, Some(id)) => known.into_iter().find(|known| known.id == id),
        (None, None) if known.len() > 1 => {
            let message = "this home knows several private networks, and is in none of them";
            return Err(HiveError::new(ErrorKind::Usage, message)
                .hint("say which with `--network NAME`; `hive network ls` lists them"));
        }
        (None, None) => known.pop(),
    };
    found.ok_or_else(|| {
        let message = match text {
            Some(text) => format!("this home knows no private network `{text}`"),
            None => "this home knows no private network".to_owned(),
        };
        HiveError::new(ErrorKind::Usage, message).hint(
            "`hive network ls` lists them; `hive join CODE` joins one, `hive network create NAME` makes one",
        )
    })
}

fn only(mut found: Vec<Known>, text: &str) -> Result<Option<Known>> {
    if found.len() > 1 {
        let ids: Vec<_> = found.iter().map(|known| known.id.to_string()).collect();
        let message = format!("`{text}` names {} private networks of this home", found.len());
        return Err(HiveError::new(ErrorKind::Usage, message)
            .hint(format!("say which by its id: {}", ids.join(", "))));
    }
    Ok(found.pop())
}

fn room(known: &[Known]) -> Result<()> {
    if known.len() < NETWORKS {
        return Ok(());
    }
    let message = format!("this home knows {NETWORKS} private networks, which is all it may");
    Err(HiveError::new(ErrorKind::Refused, message).hint("leave one: `hive network leave NAME`"))
}

/// What a network may be called by who makes it: what the setting `network` takes, too.
fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let why = if name == PUBLIC {
        "the public network is called that"
    } else if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        "a name has 1 to 64 of `a-z`, `0-9` and `-`"
    } else if name.parse::<NetworkId>().is_ok() {
        "it could be a network's id"
    } else {
        return Ok(());
    };
    let shown = names::claim(name).unwrap_or_default();
    Err(HiveError::new(
        ErrorKind::Usage,
        format!("a private network cannot be called `{shown}`: {why}"),
    ))
}

#[cfg(test)]
mod tests;
