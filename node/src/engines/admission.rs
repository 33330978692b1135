//! Memory: whether a model fits beside those that are loaded, and who goes if it does not.

use std::sync::Arc;

use hive_api::{ErrorKind, HiveError, Result};

use super::{Engines, Model, State};
use crate::machine;

/// Memory that stays with the system and other programs: a twentieth of it, and this at least.
const RESERVE: u64 = 512 << 20;

/// Bytes of memory for models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// In all; unknown where the system does not tell.
    pub(super) total: Option<u64>,
    /// Not taken now, as the system counts; unknown where a setting says how much there is.
    free: Option<u64>,
}

impl Room {
    /// Looks at the machine, or takes what the user set.
    pub(super) fn look(setting: Option<u64>) -> Self {
        if setting.is_some() {
            return Self { total: setting, free: None };
        }
        let machine = machine::look();
        if machine.memory == 0 {
            return Self { total: None, free: None };
        }
        let reserve = (machine.memory / 20).max(RESERVE);
        Self {
            total: Some(machine.memory.saturating_sub(reserve)),
            free: Some(machine.memory_free.saturating_sub(reserve)),
        }
    }

    /// What a model could have beside those that are loaded, which take so much by estimate.
    fn free_beside(&self, loaded: u64) -> Option<u64> {
        self.free.or_else(|| self.total.map(|total| total.saturating_sub(loaded)))
    }
}

impl Engines {
    /// Makes room for a model: idle ones go, the least recently used first. Called by one load at a
    /// time.
    pub(super) async fn make_room(&self, name: &str, needed: u64) -> Result<()> {
        loop {
            let models = self.models();
            let taken = models.iter().map(|model| model.needed).sum();
            let room = Room::look(self.0.settings.memory);
            let Some(free) = room.free_beside(taken) else { return Ok(()) };
            if needed <= free {
                return Ok(());
            }
            // What can never fit is not worth anybody's model.
            let fits_alone = room.total.is_some_and(|total| needed <= total);
            let oldest = (models.iter())
                .filter(|model| fits_alone && model.is_idle())
                .min_by_key(|model| model.usage().since);
            match oldest {
                Some(model) if self.take_if_idle(model) => {
                    tracing::info!(
                        model = model.name,
                        for_model = name,
                        "model unloaded for another"
                    );
                    model.worker.kill();
                    model.worker.ended().await;
                    self.with_figures(|figures| figures.evictions += 1);
                }
                // A request came to it in the meantime.
                Some(_) => {}
                None => {
                    return Err(too_large(name, needed, free, fits_alone && !models.is_empty()));
                }
            }
        }
    }

    /// Bytes of memory for models in all, and those not taken by models at work; none where the
    /// system does not tell.
    pub(crate) fn room(&self) -> Option<(u64, u64)> {
        let models = self.models();
        let room = Room::look(self.0.settings.memory);
        let total = room.total?;
        let taken = models.iter().map(|model| model.needed).sum();
        let idle = models.iter().filter(|model| model.is_idle());
        let idle: u64 = match room.free {
            Some(_) => idle.map(|model| model.worker.memory()).sum(),
            None => idle.map(|model| model.needed).sum(),
        };
        let free = room.free_beside(taken)?.saturating_add(idle).min(total);
        Some((total, free))
    }

    fn models(&self) -> Vec<Arc<Model>> {
        let ready = self.entries();
        let ready = ready.values().filter_map(|entry| match &entry.state {
            State::Ready(model) => Some(Arc::clone(model)),
            State::Loading(_) => None,
        });
        ready.collect()
    }
}

fn too_large(name: &str, needed: u64, free: u64, later: bool) -> HiveError {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message =
        format!("`{name}` needs about {} MiB of memory, {} MiB are free", mib(needed), free >> 20);
    if later {
        HiveError::new(ErrorKind::Busy, message).hint(
            "other models are at work (`hive ps`); try again when they are done, or unload one: \
             `hive ps --unload MODEL`",
        )
    } else {
        HiveError::new(ErrorKind::NoSpace, message).hint(
            "take a smaller quantisation (`hive quantize MODEL q4_k`), close other programs, or \
             change the setting `model-memory`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_counts_what_is_loaded_and_a_machine_counts_itself() {
        let set = Room::look(Some(1000));
        assert_eq!(
            (set.total, set.free_beside(300), set.free_beside(2000)),
            (Some(1000), Some(700), Some(0))
        );
        let machine = Room { total: Some(1000), free: Some(10) };
        assert_eq!(machine.free_beside(300), Some(10));
        assert_eq!(Room { total: None, free: None }.free_beside(1), None);
    }

    #[test]
    fn what_does_not_fit_says_how_much_and_what_to_do() {
        let error = too_large("big", 5 << 30, 3 << 30, false);
        assert_eq!(error.kind, ErrorKind::NoSpace);
        assert_eq!(error.to_string(), "`big` needs about 5120 MiB of memory, 3072 MiB are free");
        assert!(error.hint.is_some_and(|hint| hint.contains("hive quantize")));
        assert_eq!(too_large("big", 5 << 30, 3 << 30, true).kind, ErrorKind::Busy);
    }
}
