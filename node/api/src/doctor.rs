//! What a support engineer would look at first.

use serde::{Deserialize, Serialize};

/// How a check came out. The order is that of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be, or nothing that could be better.
    Ok,
    /// It works; something could be better, or could not be found out.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// What was looked at: one or two words that stay the same.
    pub name: String,
    /// How it came out.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// Something that is as it should be.
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), level: Level::Ok, found: found.into(), remedy: None }
    }

    /// Something that could be better, and how.
    pub fn warn(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name: name.to_owned(), level: Level::Warn, found: found.into(), remedy }
    }

    /// Something that does not work, and what to do.
    pub fn fail(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { name: name.to_owned(), level: Level::Fail, found: found.into(), remedy }
    }
}

/// What a doctor found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// Whether it was a running node that was looked at, or one that was started for it.
    pub running: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// What to do, in this order.
    pub to_do: Vec<String>,
}

impl Diagnosis {
    /// Takes the checks and lists what to do: what does not work first, in the order of the checks,
    /// nothing twice.
    pub fn of(running: bool, checks: Vec<Check>) -> Self {
        let mut concerns: Vec<&Check> =
            checks.iter().filter(|check| check.level > Level::Ok).collect();
        concerns.sort_by_key(|check| std::cmp::Reverse(check.level));
        let mut to_do: Vec<String> = Vec::new();
        for remedy in concerns.into_iter().filter_map(|check| check.remedy.as_ref()) {
            if !to_do.contains(remedy) {
                to_do.push(remedy.clone());
            }
        }
        Self { running, checks, to_do }
    }

    /// The worst that was found.
    pub fn worst(&self) -> Level {
        self.checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_done_first_and_nothing_twice() {
        let diagnosis = Diagnosis::of(
            true,
            vec![
                Check::warn("a", "slow", "buy"),
                Check::ok("b", "fine"),
                Check::fail("c", "broken", "mend"),
                Check::fail("d", "broken too", "mend"),
                Check::fail("e", "worse", "replace"),
            ],
        );
        assert_eq!(diagnosis.to_do, ["mend", "replace", "buy"]);
        assert_eq!(diagnosis.worst(), Level::Fail);
        assert_eq!(Diagnosis::default().worst(), Level::Ok);
    }
}
