//! What was wanted, beside what was measured. Pure: the median of the runs decides.

use std::fmt::{self, Write as _};

/// One goal, its figure, and whether it is met. Without a figure it is not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    what: String,
    bound: f64,
    at_least: bool,
    figure: Option<f64>,
    digits: usize,
}

impl Goal {
    /// A figure that shall not be below a bound.
    pub(crate) fn at_least(what: impl Into<String>, bound: f64, figure: Option<f64>) -> Self {
        Self { what: what.into(), bound, at_least: true, figure, digits: 2 }
    }

    /// A figure that shall not be above a bound.
    pub(crate) fn at_most(what: impl Into<String>, bound: f64, figure: Option<f64>) -> Self {
        Self { what: what.into(), bound, at_least: false, figure, digits: 2 }
    }

    /// Shows so many digits; two otherwise.
    pub(crate) fn digits(self, digits: usize) -> Self {
        Self { digits, ..self }
    }

    /// Whether it is met.
    pub(crate) fn is_met(&self) -> bool {
        match self.figure {
            Some(figure) if self.at_least => figure >= self.bound,
            Some(figure) => figure <= self.bound,
            None => false,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_least { '≥' } else { '≤' };
        let Self { what, bound, digits, .. } = self;
        let figure = match self.figure {
            Some(figure) => format!("{figure:.digits$}"),
            None => "not measured".to_owned(),
        };
        let met = if self.is_met() { "met" } else { "**missed**" };
        write!(f, "| {what} | {sign} {bound} | {figure} | {met} |")
    }
}

/// The goals as a table.
pub(crate) fn table(goals: &[Goal]) -> String {
    let mut text = "| goal | bound | figure (median) | |\n|---|---|---|---|".to_owned();
    for goal in goals {
        let _ = write!(text, "\n{goal}");
    }
    text
}

/// One figure for each of another, where both were measured.
pub(crate) fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.zip(other).filter(|(_, other)| *other > 0.0).map(|(one, other)| one / other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_without_a_figure_is_missed() {
        assert!(!Goal::at_least("rate", 520.0, None).is_met());
        assert!(!Goal::at_most("memory", 128.0, None).is_met());
    }

    #[test]
    fn the_bound_itself_is_met_from_both_sides() {
        assert!(Goal::at_least("rate", 520.0, Some(520.0)).is_met());
        assert!(!Goal::at_least("rate", 520.0, Some(519.9)).is_met());
        assert!(Goal::at_most("memory", 128.0, Some(128.0)).is_met());
        assert!(!Goal::at_most("memory", 128.0, Some(128.1)).is_met());
    }

    #[test]
    fn a_missed_goal_stands_in_the_table_with_its_figure() {
        let goals = [Goal::at_most("CPU-s/GB", 3.5, Some(4.25)), Goal::at_least("x", 3.0, None)];
        let text = table(&goals);
        assert!(text.contains("| CPU-s/GB | ≤ 3.5 | 4.25 | **missed** |"), "{text}");
        assert!(text.ends_with("| x | ≥ 3 | not measured | **missed** |"), "{text}");
    }

    #[test]
    fn there_is_no_ratio_to_what_was_not_measured() {
        assert_eq!(ratio(Some(3.0), None), None);
        assert_eq!(ratio(Some(3.0), Some(0.0)), None);
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
    }
}
