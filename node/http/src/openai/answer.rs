//! From what happens while a model runs to what OpenAI's clients read: whole, or piece by piece.
//!
//! An [`Answer`] is told the events of its choices in whatever order they come. It does no I/O.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hive_api::{Finish, Generated, RunEvent, TokenLogprob, ToolCall};

use super::wire::{
    Call, ChatChoice, ChatChunk, ChatCompletion, ChatLogprobs, ChatMessage, ChatPiece, Delta,
    Function, Tally, TextChoice, TextCompletion, TextLogprobs, Usage,
};
use crate::sse;

/// Which of the two kinds of answer.
pub(super) enum Shape {
    /// To a chat.
    Chat {
        /// Tell of one call of a tool at most.
        calls_one: bool,
    },
    /// To texts.
    Text {
        /// What each choice begins with; empty if with nothing.
        echoes: Vec<String>,
        /// Choices for each prompt.
        per_prompt: usize,
    },
}

/// An answer that is being made.
pub(super) struct Answer {
    shape: Shape,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    wants_logprobs: bool,
    choices: Vec<Choice>,
}

/// What is known of one choice.
#[derive(Default)]
struct Choice {
    /// Its text; not kept while it is streamed.
    text: String,
    /// Its tokens; not kept while it is streamed.
    tokens: Vec<TokenLogprob>,
    /// Its calls; not kept while it is streamed.
    calls: Vec<ToolCall>,
    /// How many calls there were.
    n_calls: usize,
    /// Characters that were streamed.
    offset: usize,
    /// Whether anything of it was streamed.
    has_begun: bool,
    done: Option<Generated>,
}

impl Answer {
    /// An answer of `n` choices.
    pub(super) fn new(shape: Shape, model: &str, n: usize, wants_logprobs: bool) -> Self {
        let prefix = match shape {
            Shape::Chat { .. } => "chatcmpl",
            Shape::Text { .. } => "cmpl",
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut answer = Self {
            shape,
            id: format!("{prefix}-{:032x}", rand::random::<u128>()),
            created: since.map_or(0, |since| since.as_secs()),
            model: model.to_owned(),
            fingerprint: fingerprint(None),
            wants_logprobs,
            choices: (0..n).map(|_| Choice::default()).collect(),
        };
        if let Shape::Text { echoes, .. } = &answer.shape {
            for (choice, echo) in answer.choices.iter_mut().zip(echoes) {
                choice.text.clone_from(echo);
            }
        }
        answer
    }

    /// Whether every choice has ended.
    pub(super) fn is_done(&self) -> bool {
        self.choices.iter().all(|choice| choice.done.is_some())
    }

    /// Whether a call of a tool is to be told of.
    fn takes_call(&mut self, index: usize) -> bool {
        let calls_one = matches!(self.shape, Shape::Chat { calls_one: true });
        let choice = &mut self.choices[index];
        let takes = !calls_one || choice.n_calls == 0;
        choice.n_calls += usize::from(takes);
        takes
    }

    /// Keeps what happened with a choice.
    pub(super) fn keep(&mut self, index: usize, event: RunEvent) {
        match event {
            RunEvent::Fetching { .. } | RunEvent::Queued { .. } => {}
            RunEvent::Loaded { cid, .. } => self.fingerprint = fingerprint(cid.as_deref()),
            RunEvent::Text { text, tokens } => {
                let choice = &mut self.choices[index];
                choice.text.push_str(&text);
                choice.tokens.extend(tokens);
            }
            RunEvent::ToolCall(call) => {
                if self.takes_call(index) {
                    self.choices[index].calls.push(call);
                }
            }
            RunEvent::Done(generated) => self.choices[index].done = Some(generated),
        }
    }

    /// Tokens that were used so far.
    fn usage(&self) -> Usage {
        let per_prompt = match self.shape {
            Shape::Chat { .. } => self.choices.len(),
            Shape::Text { per_prompt, .. } => per_prompt,
        };
        let mut usage = Usage::default();
        for (i, choice) in self.choices.iter().enumerate() {
            if let Some(generated) = &choice.done {
                usage.count(generated, i % per_prompt.max(1) == 0);
            }
        }
        usage
    }

    /// The whole answer, once every choice has ended.
    pub(super) fn whole(mut self) -> serde_json::Value {
        let usage = self.usage();
        let choices = std::mem::take(&mut self.choices).into_iter().enumerate();
        let wants_logprobs = self.wants_logprobs;
        let said = match self.shape {
            Shape::Chat { .. } => serde_json::to_value(ChatCompletion {
                id: self.id,
                object: "chat.completion",
                created: self.created,
                model: self.model,
                system_fingerprint: self.fingerprint,
                choices: choices.map(|(i, choice)| choice.chat(i, wants_logprobs)).collect(),
                usage,
            }),
            Shape::Text { .. } => serde_json::to_value(TextCompletion {
                id: self.id,
                object: "text_completion",
                created: self.created,
                model: self.model,
                system_fingerprint: self.fingerprint,
                choices: choices.map(|(i, choice)| choice.text(i, wants_logprobs)).collect(),
                usage: Some(Tally(Some(usage))),
            }),
        };
        said.expect("answers have text for keys")
    }

    /// What to send of what happened with a choice.
    pub(super) fn stream(
        &mut self,
        index: usize,
        event: RunEvent,
        tells_usage: bool,
        frames: &mut impl Extend<Bytes>,
    ) {
        match event {
            RunEvent::Fetching { .. } | RunEvent::Queued { .. } => return,
            RunEvent::Loaded { cid, .. } => {
                self.fingerprint = fingerprint(cid.as_deref());
                return;
            }
            RunEvent::Text { .. } | RunEvent::ToolCall(_) | RunEvent::Done(_) => {}
        }
        if !std::mem::replace(&mut self.choices[index].has_begun, true) {
            match self.shape {
                Shape::Chat { .. } => {
                    let delta = Delta {
                        role: Some("assistant"),
                        content: Some(String::new()),
                        ..Delta::default()
                    };
                    frames.extend([self.chat_frame(index, delta, &[], None, tells_usage)]);
                }
                Shape::Text { .. } => {
                    let echo = std::mem::take(&mut self.choices[index].text);
                    if !echo.is_empty() {
                        frames.extend([self.text_frame(index, echo, &[], None, tells_usage)]);
                    }
                }
            }
        }
        match event {
            RunEvent::Text { text, tokens } => frames.extend([match self.shape {
                Shape::Chat { .. } => {
                    let delta = Delta { content: Some(text), ..Delta::default() };
                    self.chat_frame(index, delta, &tokens, None, tells_usage)
                }
                Shape::Text { .. } => self.text_frame(index, text, &tokens, None, tells_usage),
            }]),
            RunEvent::ToolCall(call) => {
                if self.takes_call(index) {
                    let at = self.choices[index].n_calls - 1;
                    for call in Call::pieces(at, call) {
                        let delta = Delta { tool_calls: vec![call], ..Delta::default() };
                        frames.extend([self.chat_frame(index, delta, &[], None, tells_usage)]);
                    }
                }
            }
            RunEvent::Done(generated) => {
                let finish = Some(reason(generated.finish));
                self.choices[index].done = Some(generated);
                frames.extend([match self.shape {
                    Shape::Chat { .. } => {
                        self.chat_frame(index, Delta::default(), &[], finish, tells_usage)
                    }
                    Shape::Text { .. } => {
                        self.text_frame(index, String::new(), &[], finish, tells_usage)
                    }
                }]);
                if self.is_done() {
                    if tells_usage {
                        frames.extend([self.usage_frame()]);
                    }
                    frames.extend([Bytes::from_static(b"data: [DONE]\n\n")]);
                }
            }
            RunEvent::Fetching { .. } | RunEvent::Queued { .. } | RunEvent::Loaded { .. } => {}
        }
    }

    fn chat_frame(
        &self,
        index: usize,
        delta: Delta,
        tokens: &[TokenLogprob],
        finish_reason: Option<&'static str>,
        tells_usage: bool,
    ) -> Bytes {
        let has_logprobs = self.wants_logprobs && !tokens.is_empty();
        let logprobs = has_logprobs.then(|| ChatLogprobs::new(tokens));
        let piece = ChatPiece { index, delta, logprobs, finish_reason };
        sse::data(&self.chat_chunk(vec![piece], tells_usage.then_some(Tally(None))))
    }

    fn chat_chunk(&self, choices: Vec<ChatPiece>, usage: Option<Tally>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    fn text_frame(
        &mut self,
        index: usize,
        text: String,
        tokens: &[TokenLogprob],
        finish_reason: Option<&'static str>,
        tells_usage: bool,
    ) -> Bytes {
        let logprobs = (self.wants_logprobs && !tokens.is_empty()).then(|| {
            let choice = &mut self.choices[index];
            let (logprobs, offset) = TextLogprobs::new(tokens, choice.offset);
            choice.offset = offset;
            logprobs
        });
        let choice = TextChoice { text, index, logprobs, finish_reason };
        sse::data(&self.text_chunk(vec![choice], tells_usage.then_some(Tally(None))))
    }

    fn text_chunk(&self, choices: Vec<TextChoice>, usage: Option<Tally>) -> TextCompletion {
        TextCompletion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }

    fn usage_frame(&self) -> Bytes {
        let usage = Some(Tally(Some(self.usage())));
        match self.shape {
            Shape::Chat { .. } => sse::data(&self.chat_chunk(Vec::new(), usage)),
            Shape::Text { .. } => sse::data(&self.text_chunk(Vec::new(), usage)),
        }
    }
}

impl Choice {
    fn chat(self, index: usize, wants_logprobs: bool) -> ChatChoice {
        let has_calls = !self.calls.is_empty();
        ChatChoice {
            index,
            message: ChatMessage {
                role: "assistant",
                content: (!has_calls || !self.text.is_empty()).then_some(self.text),
                refusal: None,
                tool_calls: self.calls.into_iter().map(Call::whole).collect(),
            },
            logprobs: wants_logprobs.then(|| ChatLogprobs::new(&self.tokens)),
            finish_reason: self.done.map_or("stop", |done| reason(done.finish)),
        }
    }

    fn text(self, index: usize, wants_logprobs: bool) -> TextChoice {
        TextChoice {
            text: self.text,
            index,
            logprobs: wants_logprobs.then(|| TextLogprobs::new(&self.tokens, 0).0),
            finish_reason: self.done.map(|done| reason(done.finish)),
        }
    }
}

impl Call {
    fn whole(call: ToolCall) -> Self {
        Self {
            index: None,
            id: Some(call.id),
            r#type: Some("function"),
            function: Function { name: Some(call.name), arguments: call.arguments },
        }
    }

    /// Which tool, then what with, as clients put them together again.
    fn pieces(at: usize, call: ToolCall) -> [Self; 2] {
        let arguments = Self {
            index: Some(at),
            id: None,
            r#type: None,
            function: Function { name: None, arguments: call.arguments },
        };
        let name = Self {
            index: Some(at),
            ..Self::whole(ToolCall { arguments: String::new(), id: call.id, name: call.name })
        };
        [name, arguments]
    }
}

/// What an answer depends on besides the request: the software and the model.
fn fingerprint(cid: Option<&str>) -> String {
    let model = cid.map_or("file", |cid| cid.get(cid.len().saturating_sub(8)..).unwrap_or(cid));
    format!("fp_hive_{}_{model}", env!("CARGO_PKG_VERSION"))
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        // A cancelled text is an error before it gets here; see `stream`.
        Finish::Stop | Finish::Cancelled => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}
