//! Scores for tokens, such that merging by score does what a list of merges does.
//!
//! SentencePiece merges the two neighbours whose union has the best score; the list says which two
//! are merged first. They agree if the list has *every* way to make a token of two others, and all
//! ways to make one token stand together. Lists that were made from scores are like that. One that
//! is not refuses the model: a tokenizer that is nearly right gives plausible nonsense.

use std::collections::{HashMap, HashSet};

use hive_api::EngineError;

use super::Role;
use crate::error::{invalid, unsupported};

/// Returns a score for each token.
///
/// What no merge makes and is not a single character is no token that text becomes: its role says
/// so afterwards.
pub(super) fn scores(
    tokens: &[String],
    roles: &mut [Role],
    merges: &[(String, String)],
) -> Result<Vec<f32>, EngineError> {
    let mut ids: HashMap<&str, usize> = HashMap::new();
    // Cut out of the text before any merge, so what merges say of them never happens.
    let mut others: HashSet<String> = HashSet::new();
    for (id, text) in tokens.iter().enumerate() {
        if roles[id] == Role::Normal {
            ids.insert(text, id);
        } else {
            others.insert(text.replace(' ', "\u{2581}"));
        }
    }

    let mut scores = vec![0.0; tokens.len()];
    let mut unions = Vec::with_capacity(merges.len());
    let mut last = None;
    for (rank, (left, right)) in merges.iter().enumerate() {
        let union = format!("{left}{right}");
        let Some(&id) = ids.get(union.as_str()) else {
            if others.contains(&union) {
                continue;
            }
            return Err(invalid(format!("the merge to `{}` makes no token", union.escape_debug())));
        };
        if last != Some(id) && scores[id] != 0.0 {
            return Err(not_scores(&union));
        }
        if scores[id] == 0.0 {
            scores[id] = -(rank as f32) - 1.0;
        }
        last = Some(id);
        unions.push((id, left.as_str(), right.as_str()));
    }

    // A half that text never becomes makes nothing.
    let comes_up = |half: &str| {
        ids.get(half).is_some_and(|&id| scores[id] != 0.0 || half.chars().nth(1).is_none())
    };
    let mut listed = vec![0_usize; tokens.len()];
    for (id, left, right) in unions {
        listed[id] += usize::from(comes_up(left) && comes_up(right));
    }
    for (&text, &id) in &ids {
        if text.chars().nth(1).is_none() {
            continue;
        }
        if scores[id] == 0.0 {
            roles[id] = Role::Unused;
            continue;
        }
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let possible = cuts.filter(|(left, right)| comes_up(left) && comes_up(right)).count();
        if possible != listed[id] {
            return Err(not_scores(text));
        }
    }
    Ok(scores)
}

fn not_scores(token: &str) -> EngineError {
    unsupported(format!(
        "a tokenizer whose merges are not in the order of scores (at the token `{}`); a GGUF file \
         of the model can be run",
        token.escape_debug()
    ))
}
