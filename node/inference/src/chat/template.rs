//! Writes a chat out with a Jinja template.
//!
//! The template is compiled anew for each chat: it takes less than a millisecond, and the meter that
//! is built into it is spent once. It runs on a thread of its own, whose stack holds whatever the
//! limits let a template nest; a panic in it ends the thread and is an error.

use std::time::SystemTime;

use hive_api::{Chat, EngineError, TemplateSource};
use minijinja::machinery::{self, CodeGenerator, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::context::{context, offers_tools};
use super::marker::Specials;
use super::meter::Meter;
use super::rewrite::Rewrite;
use super::{library, tools};
use crate::error::request;

/// Bytes of a template. The longest in use have 30 KiB.
const SOURCE: usize = 256 << 10;

/// Tags in a template: an `elif` is inside the one before it, so they bound the depth.
const TAGS: usize = 2_048;

/// Tokens in a tag, for the same reason: `a.b.c` is as deep as it is long.
const TAG_TOKENS: usize = 2_048;

/// Instructions that are run. A chat of a thousand turns takes some 200,000.
const FUEL: u64 = 1_000_000;

/// Calls of macros inside each other, times what minijinja counts for one.
const RECURSION: usize = 200;

/// Bytes of the finished text.
const OUTPUT: usize = 1 << 20;

/// What a template may spend ([`Meter`]), beside so much for each byte of the chat: most templates
/// look at a message five or ten times.
const PURSE: u64 = 16 << 20;
const PURSE_EACH: u64 = 20;

/// A stack for what the limits allow.
const STACK: usize = 64 << 20;

/// Characters of a template's own words in an error.
const WORDS: usize = 400;

/// A chat template that can be read.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: String,
    from: TemplateSource,
    knows_tools: bool,
}

impl Template {
    /// Reads a template; one that is too long, or no Jinja, is refused.
    pub(crate) fn parse(source: &str, from: TemplateSource) -> Result<Self, EngineError> {
        if SOURCE < source.len() {
            let len = source.len();
            return Err(request(format!(
                "the chat template has {len} bytes; at most {SOURCE} are read"
            )));
        }
        let source = without_generation(source);
        let knows_tools = check(&source).map_err(|error| broken(&error))?;
        on_a_thread(|| compile(&source, &Rewrite::new(&Meter::new(0)), |_, _| Ok(())))?;
        Ok(Self { source, from, knows_tools })
    }

    /// Where it comes from.
    pub(crate) fn from(&self) -> TemplateSource {
        self.from
    }

    /// Its text.
    #[cfg(test)]
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Writes a chat out. Texts of messages carry markers where they look like special tokens.
    pub(crate) fn render(
        &self,
        chat: &Chat,
        specials: &Specials,
        now: SystemTime,
    ) -> Result<String, EngineError> {
        if OUTPUT < chat.messages.iter().map(|message| message.content.len()).sum() {
            return Err(too_long());
        }
        let told;
        let chat = if self.knows_tools || !tools::mentioned(chat) {
            chat
        } else {
            told = tools::explained(chat);
            &told
        };
        let context = context(chat, specials, &self.source)?;
        let size = chat.messages.iter().map(|message| {
            let calls = message.tool_calls.iter().map(|call| call.arguments.len());
            message.content.len() + calls.sum::<usize>() + 256
        });
        let size = size.sum::<usize>() + if offers_tools(chat) { size_of_tools(chat) } else { 0 };
        let meter = Meter::new(PURSE + PURSE_EACH * size as u64);
        let rewrite = Rewrite::new(&meter);
        on_a_thread(|| {
            compile(&self.source, &rewrite, |instructions, blocks| {
                let env = environment(&meter, now);
                let mut text = String::new();
                let mut out = machinery::make_string_output(&mut text);
                machinery::eval(&env, instructions, context, blocks, &mut out, AutoEscape::None)?;
                drop(out);
                Ok(text)
            })
        })
        .and_then(|text| if OUTPUT < text.len() { Err(too_long()) } else { Ok(text) })
    }
}

fn size_of_tools(chat: &Chat) -> usize {
    chat.tools.iter().map(|tool| serde_json::to_vec(tool).map_or(0, |json| json.len())).sum()
}

fn too_long() -> EngineError {
    request(format!("the chat is longer than {OUTPUT} bytes"))
}

/// Jinja as `transformers` sets it up.
fn syntax() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    syntax.build().unwrap_or_default()
}

fn environment(meter: &Meter, now: SystemTime) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION);
    let paid = meter.clone();
    env.set_formatter(move |out, state, value| {
        paid.deep(value)?;
        // Python writes these with capitals.
        if value.is_none() {
            return out.write_str("None").map_err(Error::from);
        }
        if let Ok(bool) = bool::try_from(value.clone())
            && value.kind() == ValueKind::Bool
        {
            return out.write_str(if bool { "True" } else { "False" }).map_err(Error::from);
        }
        minijinja::escape_formatter(out, state, value)
    });
    library::install(&mut env, meter, now);
    env
}

/// Whether a template has a name for tools, having checked that it is not nested without end.
fn check(source: &str) -> Result<bool, Error> {
    let (mut tags, mut tokens, mut knows_tools) = (0, 0, false);
    for token in machinery::tokenize(source, false, syntax()) {
        tokens += 1;
        match token?.0 {
            Token::BlockStart | Token::VariableStart => {
                tags += 1;
                tokens = 0;
            }
            Token::Ident("tools") => knows_tools = true,
            _ => {}
        }
        if TAGS < tags || TAG_TOKENS < tokens {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                format!("it has over {TAGS} tags, or one of over {TAG_TOKENS} words"),
            ));
        }
    }
    Ok(knows_tools)
}

/// Compiles a template with the meter in it and hands it on.
fn compile<T>(
    source: &str,
    rewrite: &Rewrite,
    then: impl FnOnce(
        &machinery::Instructions<'_>,
        &std::collections::BTreeMap<&str, machinery::Instructions<'_>>,
    ) -> Result<T, Error>,
) -> Result<T, Error> {
    let tree = machinery::parse(source, "chat template", syntax())?;
    let tree = rewrite.template(&tree)?;
    let mut code = CodeGenerator::new("chat template", source);
    code.compile_stmt(&tree);
    let (instructions, blocks) = code.finish();
    then(&instructions, &blocks)
}

/// Runs on a stack that is deep enough, and makes a panic an error.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, EngineError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("chat-template".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(EngineError::Io)?;
        match thread.join() {
            Ok(done) => done.map_err(|error| broken(&error)),
            Err(_) => Err(request("the chat template cannot be run")),
        }
    })
}

/// An error in the template's own words, without the text around it: that is the user's.
fn broken(error: &Error) -> EngineError {
    let words = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    let words: String = super::unmarked(&words).chars().take(WORDS).collect();
    match error.line() {
        Some(line) => request(format!("the chat template fails in line {line}: {words}")),
        None => request(format!("the chat template fails: {words}")),
    }
}

/// `{% generation %}` says which part of a text to train on; here it is a block like any other.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        for (word, instead) in [("endgeneration", "endif"), ("generation", "if true")] {
            let Some(after) = name.strip_prefix(word) else { continue };
            let end = after.trim_start().trim_start_matches(['-', '+']);
            if end.starts_with("%}") {
                out.push_str(&tag[..tag.len() - name.len()]);
                out.push_str(instead);
                rest = after;
            }
            break;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod families;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
