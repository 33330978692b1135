//! What is done in the lab. Each scenario builds its networks, looks, and ends in a table.

pub(crate) mod fetch;
pub(crate) mod lan_only;
pub(crate) mod matrix;
pub(crate) mod membership;
pub(crate) mod only443;
pub(crate) mod public;
pub(crate) mod recover;
pub(crate) mod relayed;
pub(crate) mod selftest;
