//! Somebody who has a model: a home with a node that serves it, and the bytes to compare with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::home::{Home, Node};
use crate::scenario::Context;

/// A provider and what it provides.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) home: Home,
    /// None while it is away.
    node: Option<Node>,
    pub(crate) id: String,
    /// Every file of the model, by its path below the model's directory (of a single file: any name).
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// What a source is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Files; one is a model by itself, more are a directory.
    pub(crate) files: usize,
    /// Bytes in each.
    pub(crate) len: usize,
    /// Bytes that it sends in a second; 0 for as many as it can.
    pub(crate) rate: u64,
}

/// Bytes that peers gave for a fetch, by its last event.
pub(crate) fn from_peers(done: &Value) -> u64 {
    let peers = done["peers"].as_array().into_iter().flatten();
    peers.filter_map(|peer| peer["bytes"].as_u64()).sum()
}

impl Source {
    /// Makes a model out of the seed and starts a node that shares it.
    pub(crate) fn start(context: &Context, dir: &Path, size: Size) -> anyhow::Result<Self> {
        let home = Home::new(&context.hive, dir.join("provider"));
        let original = dir.join("original");
        let mut files = Vec::new();
        let bytes = |at: usize| hive_testnet::sample::bytes(context.seed ^ at as u64, size.len);
        if size.files == 1 {
            std::fs::write(&original, bytes(0))?;
            files.push((PathBuf::new(), bytes(0)));
        } else {
            std::fs::create_dir(&original)?;
            for at in 0..size.files {
                let name = format!("part-{at:03}.bin");
                std::fs::write(original.join(&name), bytes(at))?;
                files.push((name.into(), bytes(at)));
            }
        }
        let id = home.add(&original)?;
        let rate = size.rate.to_string();
        let limit: &[&str] = if size.rate == 0 { &[] } else { &["--upload-limit", &rate] };
        let node = home.join(limit)?;
        Ok(Self { home, node: Some(node), id, files })
    }

    /// Every file by its name, with its bytes.
    pub(crate) fn files(&self) -> &[(PathBuf, Vec<u8>)] {
        &self.files
    }

    /// Bytes in all files.
    pub(crate) fn len(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Bytes that it sent so far.
    pub(crate) fn sent(&self) -> anyhow::Result<u64> {
        let status = self.home.json(&["--json", "status"])?;
        status["uploaded"].as_u64().context("`hive status` tells what was uploaded")
    }

    /// The arguments that fetch its model from it.
    pub(crate) fn fetch(&self) -> anyhow::Result<[&str; 5]> {
        let node = self.node.as_ref().context("the provider is away")?;
        Ok(["--json", "fetch", &self.id, "--from", node.address()?])
    }

    /// Goes away: whoever wants its model has to have it from others.
    pub(crate) fn leave(&mut self) -> anyhow::Result<()> {
        match self.node.take() {
            Some(node) => node.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Comes back, at another address.
    pub(crate) fn come_back(&mut self) -> anyhow::Result<()> {
        self.node = Some(self.home.join(&[])?);
        Ok(())
    }

    /// Whether a model at a path is this one, to the last byte.
    pub(crate) fn require_same(&self, path: &Path) -> anyhow::Result<()> {
        for (name, bytes) in &self.files {
            let path = if name.as_os_str().is_empty() { path.to_owned() } else { path.join(name) };
            let found = std::fs::read(&path).with_context(|| format!("`{}`", path.display()))?;
            ensure!(found == *bytes, "`{}` has other bytes", path.display());
        }
        Ok(())
    }

    /// Whether everything that stands finished in a home is this model: what a user can see and
    /// open there, whatever the index says of it.
    pub(crate) fn require_visible_same(&self, home: &Path) -> anyhow::Result<()> {
        let Ok(models) = std::fs::read_dir(home.join("models")) else { return Ok(()) };
        for entry in models {
            let entry = entry?;
            // What begins with a dot is unfinished, and nobody is told of it.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if self.files.len() > 1 {
                self.require_same(&entry.path())?;
            } else {
                for file in std::fs::read_dir(entry.path())? {
                    self.require_same(&file?.path())?;
                }
            }
        }
        Ok(())
    }
}
