//! The turns and tools of a chat, from OpenAI's words to hive's.
//!
//! Text comes through as it is; pictures, sound and files are refused where they stand, since a
//! model that cannot see them would answer as if they had said nothing.

use std::collections::BTreeMap;

use hive_api::{Message, Role, Tool, ToolCall, ToolChoice};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::common::wrong;
use super::error::ApiError;

/// Characters in a tool's name at most, as OpenAI has it.
const NAME_LEN: usize = 64;

/// One turn.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct MessageParam {
    /// `system` or `developer`, `user`, `assistant`, `tool`.
    role: String,
    /// A text, or parts of type `text`.
    content: Option<Content>,
    /// Who speaks.
    name: Option<String>,
    /// What the assistant said instead of an answer.
    refusal: Option<String>,
    /// Tools that the assistant called.
    tool_calls: Option<Vec<CallParam>>,
    /// Which call a tool's turn answers.
    tool_call_id: Option<String>,
    #[schemars(skip)]
    function_call: Option<Value>,
    #[schemars(skip)]
    audio: Option<Value>,
}

/// What is said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of what is said.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Part {
    /// `text` or `refusal`.
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
}

/// A call of a tool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct CallParam {
    id: String,
    r#type: Option<String>,
    function: FunctionParam,
}

/// Which tool, and what with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct FunctionParam {
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// A tool.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ToolParam {
    /// `function`.
    r#type: String,
    function: Option<FunctionTool>,
}

/// A function that may be called.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct FunctionTool {
    name: String,
    description: Option<String>,
    /// A JSON schema of the arguments; none is a function without any.
    parameters: Option<Value>,
}

/// Whether a tool must be called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ToolChoiceParam {
    /// `none`, `auto`, `required`.
    Mode(String),
    /// This one.
    Named(NamedTool),
}

/// A tool by its name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct NamedTool {
    /// `function`.
    r#type: String,
    function: Option<FunctionName>,
}

/// A function's name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct FunctionName {
    name: String,
}

/// The turns of a chat.
pub(crate) fn messages(turns: Vec<MessageParam>) -> Result<Vec<Message>, ApiError> {
    // A tool's turn names its call, and templates want the tool's name.
    let mut tools_by_call = BTreeMap::new();
    let mut messages = Vec::with_capacity(turns.len());
    for (i, turn) in turns.into_iter().enumerate() {
        let message = message(&format!("messages[{i}]"), turn, &tools_by_call)?;
        for call in &message.tool_calls {
            tools_by_call.insert(call.id.clone(), call.name.clone());
        }
        messages.push(message);
    }
    Ok(messages)
}

fn message(
    at: &str,
    turn: MessageParam,
    tools_by_call: &BTreeMap<String, String>,
) -> Result<Message, ApiError> {
    let role = match turn.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        "" => return Err(wrong(&format!("{at}.role"), format!("`{at}` needs a `role`"))),
        other => {
            let message = format!(
                "`{at}.role` is `{}`; it must be `system`, `developer`, `user`, `assistant` or `tool`",
                shortened(other),
            );
            return Err(wrong(&format!("{at}.role"), message));
        }
    };
    if turn.function_call.is_some() || turn.audio.is_some() {
        let name = if turn.audio.is_some() { "audio" } else { "function_call" };
        let at = format!("{at}.{name}");
        return Err(ApiError::unsupported(&at, format!("`{at}` is not supported")));
    }
    let calls = tool_calls(at, role, turn.tool_calls.unwrap_or_default())?;
    let content = match turn.content {
        Some(content) => text(at, content)?,
        None if role == Role::Assistant && !calls.is_empty() => String::new(),
        None if role == Role::Assistant && turn.refusal.is_some() => {
            turn.refusal.unwrap_or_default()
        }
        None => {
            return Err(wrong(&format!("{at}.content"), format!("`{at}` needs `content`")));
        }
    };
    let name = match (&turn.tool_call_id, role) {
        (Some(id), Role::Tool) => turn.name.or_else(|| tools_by_call.get(id).cloned()),
        (None, Role::Tool) => {
            let message = format!("`{at}` is a tool's turn and needs `tool_call_id`");
            return Err(wrong(&format!("{at}.tool_call_id"), message));
        }
        _ => turn.name,
    };
    Ok(Message { role, content, name, tool_calls: calls, tool_call_id: turn.tool_call_id })
}

fn tool_calls(at: &str, role: Role, calls: Vec<CallParam>) -> Result<Vec<ToolCall>, ApiError> {
    if role != Role::Assistant && !calls.is_empty() {
        let message = format!("`{at}.tool_calls` belongs to turns of the assistant");
        return Err(wrong(&format!("{at}.tool_calls"), message));
    }
    let calls = calls.into_iter().enumerate().map(|(i, call)| {
        let at = format!("{at}.tool_calls[{i}]");
        let is_function = matches!(call.r#type.as_deref(), None | Some("function"));
        if !is_function || call.id.is_empty() || call.function.name.is_empty() {
            let message = format!("`{at}` must be of type `function`, with an `id` and a name");
            return Err(wrong(&at, message));
        }
        let FunctionParam { name, arguments } = call.function;
        Ok(ToolCall { id: call.id, name, arguments })
    });
    calls.collect()
}

fn text(at: &str, content: Content) -> Result<String, ApiError> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let mut text = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let said = match part.r#type.as_str() {
            "text" => part.text,
            "refusal" => part.refusal,
            other => {
                let at = format!("{at}.content[{i}]");
                let message = format!(
                    "`{at}` is of type `{}`; hive runs models of text and takes parts of type `text`",
                    shortened(other),
                );
                return Err(ApiError::unsupported(&at, message));
            }
        };
        let Some(said) = said else {
            let at = format!("{at}.content[{i}]");
            return Err(wrong(&at, format!("`{at}` needs `{}`", part.r#type)));
        };
        text.push_str(&said);
    }
    Ok(text)
}

/// The tools of a chat.
pub(crate) fn tools(tools: Vec<ToolParam>) -> Result<Vec<Tool>, ApiError> {
    let tools = tools.into_iter().enumerate().map(|(i, tool)| {
        let at = format!("tools[{i}]");
        let function = match (tool.r#type.as_str(), tool.function) {
            ("function", Some(function)) => function,
            ("function", None) => {
                return Err(wrong(&at, format!("`{at}` needs `function`")));
            }
            (other, _) => {
                let message = format!("`{at}.type` is `{}`, not `function`", shortened(other));
                return Err(ApiError::unsupported(&format!("{at}.type"), message));
            }
        };
        if !is_name(&function.name) {
            let at = format!("{at}.function.name");
            let message = format!("`{at}` must be 1 to {NAME_LEN} of a-z, A-Z, 0-9, `_` and `-`");
            return Err(wrong(&at, message));
        }
        let parameters = function
            .parameters
            .filter(|parameters| !parameters.is_null())
            .unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        if !parameters.is_object() {
            let at = format!("{at}.function.parameters");
            return Err(wrong(&at, format!("`{at}` must be a JSON schema, which is an object")));
        }
        Ok(Tool { name: function.name, description: function.description, parameters })
    });
    tools.collect()
}

/// Whether one of `tools` must be called.
pub(crate) fn tool_choice(
    choice: Option<ToolChoiceParam>,
    tools: &[Tool],
) -> Result<ToolChoice, ApiError> {
    let choice = match choice {
        None => return Ok(ToolChoice::Auto),
        Some(ToolChoiceParam::Mode(mode)) => match mode.as_str() {
            "auto" => return Ok(ToolChoice::Auto),
            "none" => return Ok(ToolChoice::None),
            "required" => ToolChoice::Required,
            _ => {
                let message = "`tool_choice` must be `none`, `auto`, `required` or a function";
                return Err(wrong("tool_choice", message));
            }
        },
        Some(ToolChoiceParam::Named(NamedTool { r#type, function: Some(function) }))
            if r#type == "function" =>
        {
            ToolChoice::Named(function.name)
        }
        Some(ToolChoiceParam::Named(_)) => {
            let message = "`tool_choice` names no function: `{\"type\": \"function\", \"function\": {\"name\": …}}`";
            return Err(ApiError::unsupported("tool_choice", message));
        }
    };
    let is_there = match &choice {
        ToolChoice::Named(name) => tools.iter().any(|tool| tool.name == *name),
        _ => !tools.is_empty(),
    };
    if is_there {
        return Ok(choice);
    }
    Err(wrong("tool_choice", "`tool_choice` asks for a tool that is not among `tools`"))
}

fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=NAME_LEN).contains(&name.len()) && name.bytes().all(fine)
}

/// A word of the caller's, to be shown to him.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
