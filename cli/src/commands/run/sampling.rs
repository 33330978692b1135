//! How tokens are drawn, as flags and as `/set` in a chat: one reader for each value.

use std::collections::BTreeMap;

use hive_api::Sampling;

/// How tokens are drawn.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling options")]
pub(crate) struct SamplingArgs {
    /// 0 takes the most likely token every time; more is more daring
    #[arg(long, value_name = "T", value_parser = temperature, default_value = "0.7")]
    temperature: f32,

    /// Draw from the smallest set of tokens that is this probable together [0..1]
    #[arg(long, value_name = "P", value_parser = probability, default_value = "0.95")]
    top_p: f32,

    /// Draw from this many most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 64)]
    top_k: u32,

    /// Draw from tokens this probable relative to the most likely one [0..1]
    #[arg(long, value_name = "P", value_parser = share)]
    min_p: Option<f32>,

    /// Make tokens that occurred less likely: above 1, as 1.1
    #[arg(long, value_name = "R", value_parser = factor)]
    repetition_penalty: Option<f32>,

    /// Take this from the logit of each token that was generated, once [-2..2]
    #[arg(long, value_name = "A", value_parser = penalty, default_value = "0")]
    #[arg(allow_negative_numbers = true)]
    presence_penalty: f32,

    /// Take this from the logit of each token for each time it was generated [-2..2]
    #[arg(long, value_name = "A", value_parser = penalty, default_value = "0")]
    #[arg(allow_negative_numbers = true)]
    frequency_penalty: f32,

    /// Add to the logit of a token: -100 forbids it; may be given several times
    #[arg(long, value_name = "ID=V", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,

    /// Same seed, model and prompt: same text [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// What the flags say.
    pub(crate) fn resolve(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: (self.top_p < 1.0).then_some(self.top_p),
            min_p: self.min_p.filter(|p| *p > 0.0),
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.iter().copied().collect::<BTreeMap<_, _>>(),
            seed: self.seed.unwrap_or_else(rand::random),
        }
    }
}

/// Names that [`set`] knows.
pub(crate) const NAMES: [&str; 8] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
];

/// Sets one value by its name; `false` if it is none of [`NAMES`].
pub(crate) fn set(sampling: &mut Sampling, name: &str, text: &str) -> Result<bool, String> {
    let whole = || text.parse().map_err(|_| format!("`{text}` is no whole number from 0 on"));
    match name {
        "temperature" => sampling.temperature = temperature(text)?,
        "top_k" => sampling.top_k = Some(whole()?).filter(|k| *k > 0),
        "top_p" => sampling.top_p = Some(probability(text)?).filter(|p| *p < 1.0),
        "min_p" => sampling.min_p = Some(share(text)?).filter(|p| *p > 0.0),
        "repetition_penalty" => sampling.repetition_penalty = Some(factor(text)?),
        "presence_penalty" => sampling.presence_penalty = penalty(text)?,
        "frequency_penalty" => sampling.frequency_penalty = penalty(text)?,
        "seed" => {
            sampling.seed = text.parse().map_err(|_| format!("`{text}` is no seed"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The values as `/set` shows them.
pub(crate) fn show(sampling: &Sampling) -> [(&'static str, String); NAMES.len()] {
    let or_off = |value: Option<f32>| value.map_or("off".to_owned(), |value| value.to_string());
    let top_k = sampling.top_k.map_or("off".to_owned(), |k| k.to_string());
    [
        (NAMES[0], sampling.temperature.to_string()),
        (NAMES[1], top_k),
        (NAMES[2], or_off(sampling.top_p)),
        (NAMES[3], or_off(sampling.min_p)),
        (NAMES[4], or_off(sampling.repetition_penalty)),
        (NAMES[5], sampling.presence_penalty.to_string()),
        (NAMES[6], sampling.frequency_penalty.to_string()),
        (NAMES[7], sampling.seed.to_string()),
    ]
}

fn number(text: &str, fits: impl FnOnce(f32) -> bool, what: &'static str) -> Result<f32, String> {
    text.parse().ok().filter(|value| fits(*value)).ok_or_else(|| what.to_owned())
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| (0.0..=100.0).contains(&t), "a temperature is a number from 0 to 100")
}

fn probability(text: &str) -> Result<f32, String> {
    number(text, |p| p > 0.0 && p <= 1.0, "a probability is a number above 0 and up to 1")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "a share is a number from 0 to 1")
}

fn factor(text: &str) -> Result<f32, String> {
    let what = "a repetition penalty is a number above 0 and up to 10, as 1.1";
    number(text, |r| r > 0.0 && r <= 10.0, what)
}

fn penalty(text: &str) -> Result<f32, String> {
    number(text, |p| (-2.0..=2.0).contains(&p), "a penalty is a number from -2 to 2")
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let why = || format!("`{text}` is no bias; write ID=V, as 1234=-100");
    let (token, value) = text.split_once('=').ok_or_else(why)?;
    let value = number(value, |v| (-100.0..=100.0).contains(&v), "a bias is from -100 to 100")?;
    Ok((token.parse().map_err(|_| why())?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_set_and_is_shown() {
        let mut sampling = Sampling::default();
        for (name, value) in
            NAMES.into_iter().zip(["0.2", "5", "0.5", "0.1", "1.1", "-1", "2", "7"])
        {
            assert_eq!(set(&mut sampling, name, value), Ok(true), "{name}");
            let shown = show(&sampling).into_iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(shown.1, value, "{name}");
        }
        assert_eq!(set(&mut sampling, "humour", "1"), Ok(false));
    }

    #[test]
    fn values_out_of_range_are_refused_and_change_nothing() {
        let mut sampling = Sampling::default();
        for (name, value) in [
            ("temperature", "-1"),
            ("temperature", "NaN"),
            ("top_k", "-1"),
            ("top_p", "0"),
            ("min_p", "1.1"),
            ("repetition_penalty", "0"),
            ("presence_penalty", "3"),
            ("frequency_penalty", "x"),
            ("seed", "1.5"),
        ] {
            assert!(set(&mut sampling, name, value).is_err(), "{name} {value}");
        }
        assert_eq!(sampling, Sampling::default());
        assert_eq!(bias("7=-100"), Ok((7, -100.0)));
        for wrong in ["7", "x=1", "7=", "7=101", "=1"] {
            assert!(bias(wrong).is_err(), "{wrong}");
        }
    }
}
