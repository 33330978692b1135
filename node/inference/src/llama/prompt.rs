//! What a request asks for, in tokens: a prompt, the form of what follows, and how calls are read.
//!
//! Owns what that takes of a model beside its weights: tokenizer, chat templates, and the tokens in
//! the order that forms need, which is made when the first form is asked for.

use std::time::SystemTime;

use hive_api::{EngineError, Format, GenerateRequest, Prompt, TemplateSource, Ticket, ToolChoice};
use hive_protocol::gguf::{Header, Value};

use crate::chat::{Calls, Specials, Template, Templates, forced};
use crate::constraint::{Constraint, Vocabulary};
use crate::error::request;
use crate::tokenizer::Tokenizer;

/// Makes tokens of requests.
#[derive(Debug)]
pub(super) struct Prompts {
    pub(super) tokenizer: Tokenizer,
    context: usize,
    vocab: usize,
    specials: Specials,
    /// The words of the error, if the model's template is broken: it still continues text.
    templates: Result<Templates, String>,
    forms: Option<Vocabulary>,
}

/// A request that was understood.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The prompt: not empty, shorter than the context, and of tokens that there are.
    pub(super) tokens: Vec<u32>,
    pub(super) constraint: Option<Constraint>,
    /// Reads calls of tools, if there are tools.
    pub(super) calls: Option<Calls>,
    /// Strings that end the text, beside those that were asked for.
    pub(super) stops: &'static [&'static str],
}

impl Prompts {
    pub(super) fn new(header: &Header, tokenizer: Tokenizer, context: usize, vocab: usize) -> Self {
        let specials = tokenizer.specials();
        let texts = header.metadata.iter().filter_map(|(key, value)| match value {
            Value::Str(text) if key.starts_with("tokenizer.chat_template") => {
                Some((key.as_str(), text.as_str()))
            }
            _ => None,
        });
        let texts: Vec<(&str, &str)> = texts.collect();
        let architecture = header.architecture().unwrap_or_default();
        let templates = Templates::find(architecture, &texts, &[], &specials);
        let templates = templates.map_err(|error| error.to_string());
        Self { tokenizer, context, vocab, specials, templates, forms: None }
    }

    /// Where the chat template comes from; none if there is none that can be used.
    pub(super) fn template(&self) -> Option<TemplateSource> {
        self.templates.as_ref().ok().map(Templates::from)
    }

    /// Understands a request, or says why not.
    pub(super) fn prepare(
        &mut self,
        ticket: Ticket,
        wanted: &GenerateRequest,
    ) -> Result<Prepared, EngineError> {
        let mut format = wanted.format.clone();
        let mut calls = None;
        let mut stops: &[&str] = &[];
        let tokens = match &wanted.prompt {
            Prompt::Text(text) => {
                self.may_fit(text)?;
                self.tokenizer.encode(text)?
            }
            Prompt::Tokens(tokens) => tokens.clone(),
            Prompt::Chat(chat) => {
                let tools = !chat.tools.is_empty() && chat.tool_choice != ToolChoice::None;
                let own;
                let template = if let Some(source) = &chat.template {
                    own = Template::parse(source, TemplateSource::File)?;
                    &own
                } else {
                    let templates = self.templates.as_ref().map_err(|error| {
                        request(format!("the model's chat template cannot be used: {error}"))
                    })?;
                    stops = templates.stops();
                    templates.of(tools)
                };
                let text = template.render(chat, &self.specials, SystemTime::now())?;
                if let Some(forced) = forced(chat)? {
                    format = Some(forced);
                }
                calls = tools.then(|| Calls::new(&chat.tools, wanted.sampling.seed ^ ticket));
                self.may_fit(&text)?;
                self.tokenizer.encode_marked(&text)?
            }
        };
        self.check(&tokens)?;
        let constraint = format.map(|format| self.constraint(&format)).transpose()?;
        Ok(Prepared { tokens, constraint, calls, stops })
    }

    /// Refuses what the graph could not take.
    pub(super) fn check(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let context = self.context;
        if context <= tokens.len() {
            return Err(EngineError::PromptTooLong { tokens: tokens.len(), context });
        }
        if tokens.is_empty() {
            return Err(request("the prompt is empty: there is nothing to continue"));
        }
        if let Some(token) = tokens.iter().find(|&&token| self.vocab <= token as usize) {
            return Err(request(format!("the prompt has {token}, which is not a token")));
        }
        Ok(())
    }

    /// Refuses a text that cannot fit before it is taken apart.
    fn may_fit(&self, text: &str) -> Result<(), EngineError> {
        let (tokens, context) = (text.len() / self.tokenizer.longest(), self.context);
        if context <= tokens {
            return Err(EngineError::PromptTooLong { tokens, context });
        }
        Ok(())
    }

    fn constraint(&mut self, format: &Format) -> Result<Constraint, EngineError> {
        let forms = match self.forms.take() {
            Some(forms) => forms,
            None => Vocabulary::new(&self.tokenizer, self.vocab)?,
        };
        Constraint::new(self.forms.insert(forms), format)
    }
}
