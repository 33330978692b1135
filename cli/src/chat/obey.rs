//! What a chat does when it is told to, besides passing messages on.

use std::path::Path;

use hive_api::Role;

use super::Session;
use super::directive::{self, Directive};
use super::lines::Lines;
use super::transcript::Transcript;
use crate::commands::run::{prompt, sampling};

impl<L: Lines> Session<'_, L> {
    /// Does it. What goes wrong is told.
    pub(super) async fn obey(&mut self, directive: Directive) -> anyhow::Result<()> {
        match directive {
            Directive::Help => self.say(directive::HELP),
            Directive::System(text) => {
                self.transcript.set_system(text.as_deref());
                self.say(if text.is_some() {
                    "set from the next message on"
                } else {
                    "taken away"
                });
            }
            Directive::Reset => {
                self.transcript.reset();
                self.last = None;
                self.say("begun anew");
            }
            Directive::Forget(n) => {
                let gone = self.transcript.forget(n);
                let left = self.transcript.said();
                self.say(format_args!("dropped {gone} messages, {left} are left"));
            }
            Directive::Save(file) => match self.transcript.save(Path::new(&file)) {
                Ok(()) => self.say(format_args!("saved to `{file}`")),
                Err(error) => self.printer.error(&error),
            },
            Directive::Load(file) => match Transcript::load(Path::new(&file)) {
                Ok(transcript) => {
                    self.transcript = transcript;
                    self.last = None;
                    self.say(format_args!("loaded {} messages", self.transcript.said()));
                }
                Err(error) => self.printer.error(&error),
            },
            Directive::Stats => match &self.last {
                Some(last) => {
                    self.say(prompt::told(last, self.options.request.sampling.seed));
                    self.say(self.room(last));
                }
                None => self.say("nothing was answered yet"),
            },
            Directive::Set(None) => self.show_values(),
            Directive::Set(Some((name, value))) => self.set(&name, &value),
            Directive::Regen => self.regenerate().await?,
            // The loop ends on it.
            Directive::Quit => {}
        }
        Ok(())
    }

    fn show_values(&self) {
        let request = &self.options.request;
        let max = request.max_tokens.map_or("off".to_owned(), |max| max.to_string());
        for (name, value) in
            sampling::show(&request.sampling).into_iter().chain([("max_tokens", max)])
        {
            self.say(format_args!("{name:<20}{value}"));
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let request = &mut self.options.request;
        let known = if name == "max_tokens" {
            match value.parse::<u32>() {
                Ok(0) => Err("an answer has at least one token; `off` sets no limit".to_owned()),
                Ok(max) => {
                    request.max_tokens = Some(max);
                    Ok(true)
                }
                Err(_) if value == "off" => {
                    request.max_tokens = None;
                    Ok(true)
                }
                Err(_) => Err(format!("`{value}` is no number of tokens")),
            }
        } else {
            sampling::set(&mut request.sampling, name, value)
        };
        match known {
            Ok(true) => self.say(format_args!("{name} is {value} from the next answer on")),
            Ok(false) => {
                let names = sampling::NAMES.join(", ");
                self.say(format_args!("there is no `{name}`; there are {names}, max_tokens"));
            }
            Err(why) => self.say(why),
        }
    }

    async fn regenerate(&mut self) -> anyhow::Result<()> {
        let before = self.transcript.take_back(Role::Assistant).map(|message| message.content);
        if self.transcript.messages().last().is_none_or(|last| last.role != Role::User) {
            if let Some(before) = before {
                self.transcript.push(Role::Assistant, before);
            }
            self.say("there is no message to answer again");
            return Ok(());
        }
        // The same seed would say the same again.
        let sampling = &mut self.options.request.sampling;
        sampling.seed = sampling.seed.wrapping_add(1);
        self.answer(before).await
    }
}
