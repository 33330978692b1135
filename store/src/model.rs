//! What the store says of the models it holds.

use std::path::PathBuf;

use hive_protocol::{BlockId, Name, TreePath};

/// Declares an enum that the index keeps as a small number.
macro_rules! stored {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $name {
            pub(crate) fn number(self) -> i64 {
                self as i64
            }

            pub(crate) fn from_number(number: i64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

stored! {
    /// Who may have a model.
    Visibility {
        /// Announced, and served to whoever asks.
        Public = 0,
        /// Served to whoever knows the id, never announced.
        Unlisted = 1,
        /// As if it were not there.
        Local = 2,
    }
}

stored! {
    /// How bytes came to be where they are, the most shared way first.
    Storage {
        /// Shares its blocks with the original (copy on write).
        Reflink = 0,
        /// Is the original under a second name.
        Hardlink = 1,
        /// Stays where it is; the store remembers the place.
        Reference = 2,
        /// A copy.
        Copy = 3,
        /// Came from peers or from a hub.
        Fetched = 4,
        /// Was there before. Said of an `add` only.
        Present = 5,
    }
}

impl Storage {
    /// Whether nobody but the store writes these bytes. The others have an owner who may.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Hardlink | Self::Reference)
    }

    /// Whether these bytes take room that they would not take without the store.
    pub(crate) fn takes_room(self) -> bool {
        matches!(self, Self::Copy | Self::Fetched)
    }
}

stored! {
    /// How much of a model is there and good.
    State {
        /// All of it.
        Whole = 0,
        /// Some of it, or none yet.
        Partial = 1,
        /// Something in it is not what it should be. Not served, not run.
        Damaged = 2,
    }
}

stored! {
    /// What a model's id names.
    Kind {
        /// One file.
        File = 0,
        /// A directory.
        Tree = 1,
    }
}

/// A model in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id.
    pub id: BlockId,
    /// What it is called here.
    pub name: Name,
    /// What its id names.
    pub kind: Kind,
    /// Bytes in all its files.
    pub size: u64,
    /// Verified bytes on disk, of its distinct chunks.
    pub present: u64,
    /// Who may have it.
    pub visibility: Visibility,
    /// Whether `gc` leaves it.
    pub pinned: bool,
    /// How much of it is there and good.
    pub state: State,
    /// What is wrong with it, if something is.
    pub damaged: Option<String>,
    /// How it is stored; the least shared way when files differ.
    pub storage: Storage,
    /// The file, or the tree's directory.
    pub path: PathBuf,
    /// Seconds since 1970.
    pub added_at: u64,
    /// Seconds since 1970.
    pub last_used: u64,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Its path in the tree; its name for a single file.
    pub path: TreePath,
    /// Its file block.
    pub block: BlockId,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256, when it was ever computed.
    pub sha256: Option<[u8; 32]>,
    /// How it is stored.
    pub storage: Storage,
    /// Where it is on this machine.
    pub on_disk: PathBuf,
}

/// How far something that reads or writes many bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Seconds since 1970, for dates that people read.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}
