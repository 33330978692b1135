//! Tools for templates that know none, and the form that makes a model call one.

use hive_api::{Chat, EngineError, Format, Message, Role, Tool, ToolChoice};
use serde_json::{Value as Json, json};

use super::context::{offers_tools, schema};
use crate::error::request;

/// Whether there is anything about tools in a chat.
pub(super) fn mentioned(chat: &Chat) -> bool {
    let in_messages =
        |message: &Message| message.role == Role::Tool || !message.tool_calls.is_empty();
    offers_tools(chat) || chat.messages.iter().any(in_messages)
}

/// The chat with everything about tools said in words, in the form that most models were tuned with
/// (Hermes, Qwen), so that any template can write it out.
pub(super) fn explained(chat: &Chat) -> Chat {
    let mut messages: Vec<Message> = Vec::with_capacity(chat.messages.len() + 1);
    for message in &chat.messages {
        let content = &message.content;
        if message.role == Role::Tool {
            let answer = format!("<tool_response>\n{content}\n</tool_response>");
            // Answers to several calls are one turn: many templates want turns to alternate.
            match messages.last_mut() {
                Some(last) if last.role == Role::User && answers(last) => {
                    last.content.push('\n');
                    last.content.push_str(&answer);
                }
                _ => messages.push(Message::new(Role::User, answer)),
            }
            continue;
        }
        let mut content = content.clone();
        for call in &message.tool_calls {
            let arguments = serde_json::from_str::<Json>(&call.arguments);
            let arguments = arguments.unwrap_or_else(|_| json!(call.arguments));
            let call = json!({"name": call.name, "arguments": arguments});
            let gap = if content.is_empty() { "" } else { "\n" };
            content = format!("{content}{gap}<tool_call>\n{call}\n</tool_call>");
        }
        let name = message.name.clone();
        messages.push(Message { name, ..Message::new(message.role, content) });
    }
    if offers_tools(chat) {
        let preamble = preamble(&chat.tools);
        match messages.first_mut() {
            Some(first) if first.role == Role::System => {
                first.content = format!("{}\n\n{preamble}", first.content);
            }
            _ => messages.insert(0, Message::new(Role::System, preamble)),
        }
    }
    Chat { messages, ..chat.clone() }
}

fn answers(message: &Message) -> bool {
    message.content.starts_with("<tool_response>\n")
}

fn preamble(tools: &[Tool]) -> String {
    let tools = tools.iter().map(|tool| schema(tool).to_string()).collect::<Vec<_>>().join("\n");
    format!(
        "You may call functions to answer. These are the functions, one JSON object a line:\n\
         <tools>\n{tools}\n</tools>\n\
         To call one, answer with its name and its arguments as a JSON object in these tags:\n\
         <tool_call>\n{{\"name\": \"...\", \"arguments\": {{...}}}}\n</tool_call>\n\
         The results come in <tool_response> tags."
    )
}

/// The form that an answer must have where a tool has to be called; `None` where it need not.
///
/// # Errors
///
/// The tool is not among those of the chat, or there are none.
pub(crate) fn forced(chat: &Chat) -> Result<Option<Format>, EngineError> {
    let tools: Vec<&Tool> = match &chat.tool_choice {
        ToolChoice::Auto | ToolChoice::None => return Ok(None),
        ToolChoice::Required => chat.tools.iter().collect(),
        ToolChoice::Named(name) => chat.tools.iter().filter(|tool| tool.name == *name).collect(),
    };
    let call = |tool: &Tool, root: &str| {
        let mut parameters = match &tool.parameters {
            Json::Null => json!({"type": "object"}),
            parameters => parameters.clone(),
        };
        moved(&mut parameters, &format!("{root}/properties/arguments"));
        json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": parameters},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let schema = match &tools[..] {
        [] => {
            let known: Vec<&str> = chat.tools.iter().map(|tool| tool.name.as_str()).collect();
            return Err(request(match &chat.tool_choice {
                ToolChoice::Named(name) => {
                    format!("there is no tool `{name}`; there are: {}", known.join(", "))
                }
                _ => "a tool must be called, and the chat has none".to_owned(),
            }));
        }
        [tool] => call(tool, "#"),
        tools => {
            let calls = tools.iter().enumerate();
            let calls: Vec<Json> =
                calls.map(|(index, tool)| call(tool, &format!("#/anyOf/{index}"))).collect();
            json!({"anyOf": calls})
        }
    };
    Ok(Some(Format::JsonSchema(schema)))
}

/// Turns references inside a schema so that they hold where it stands now.
fn moved(schema: &mut Json, to: &str) {
    match schema {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{to}{}", &target[1..]);
                    }
                    value => moved(value, to),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| moved(item, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: Json) -> Tool {
        Tool { name: name.to_owned(), description: None, parameters }
    }

    #[test]
    fn a_call_is_forced_only_where_it_must_be() {
        let tools = vec![tool("a", Json::Null), tool("b", json!({"$ref": "#/$defs/x"}))];
        let chat = |tool_choice| Chat { tools: tools.clone(), tool_choice, ..Chat::default() };
        assert_eq!(forced(&chat(ToolChoice::Auto)).unwrap(), None);
        assert_eq!(forced(&chat(ToolChoice::None)).unwrap(), None);
        let Some(Format::JsonSchema(schema)) = forced(&chat(ToolChoice::Required)).unwrap() else {
            panic!("no schema")
        };
        let second = &schema["anyOf"][1]["properties"];
        assert_eq!(second["name"]["const"], "b");
        assert_eq!(second["arguments"]["$ref"], "#/anyOf/1/properties/arguments/$defs/x");
        let error = forced(&chat(ToolChoice::Named("c".to_owned()))).unwrap_err().to_string();
        assert_eq!(error, "there is no tool `c`; there are: a, b");
        assert!(forced(&Chat { tool_choice: ToolChoice::Required, ..Chat::default() }).is_err());
    }
}
