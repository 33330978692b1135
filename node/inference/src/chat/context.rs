//! What a template sees of a chat: the names and forms that `transformers` gives it.

use hive_api::{Chat, EngineError, Message, Role, Tool, ToolChoice};
use minijinja::value::Value;
use serde_json::{Value as Json, json};

use super::json;
use super::marker::{Specials, Texts};

/// The variables of a template.
pub(super) fn context(
    chat: &Chat,
    specials: &Specials,
    template: &str,
) -> Result<Value, EngineError> {
    let foreign = specials.foreign(template);
    let mark = |text: &str| foreign.mark(text);
    let mut pairs: Vec<(String, Value)> = vec![
        ("bos_token".to_owned(), Value::from(specials.bos.clone())),
        ("eos_token".to_owned(), Value::from(specials.eos.clone())),
        ("add_generation_prompt".to_owned(), Value::from(true)),
    ];
    for (name, variable) in &chat.variables {
        pairs.retain(|(known, _)| known != name);
        pairs.push((name.clone(), json::value(variable, &mark, 0)?));
    }
    let messages = chat.messages.iter().map(|message| self::message(message, specials, &foreign));
    let messages = Value::from(messages.collect::<Result<Vec<_>, _>>()?);
    let tools = if offers_tools(chat) {
        let tools = chat.tools.iter().map(|tool| json::value(&schema(tool), &mark, 0));
        Value::from(tools.collect::<Result<Vec<_>, _>>()?)
    } else {
        Value::from(())
    };
    pairs.retain(|(name, _)| name != "messages" && name != "tools");
    pairs.extend([("messages".to_owned(), messages), ("tools".to_owned(), tools)]);
    Ok(Value::from_pairs(pairs))
}

/// Whether the model is told of tools.
pub(super) fn offers_tools(chat: &Chat) -> bool {
    !chat.tools.is_empty() && chat.tool_choice != ToolChoice::None
}

/// A tool as OpenAI and `transformers` write it; templates print it as it stands.
pub(super) fn schema(tool: &Tool) -> Json {
    let mut function = serde_json::Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    let none = json!({"type": "object", "properties": {}});
    let parameters = if tool.parameters.is_null() { none } else { tool.parameters.clone() };
    function.insert("parameters".to_owned(), parameters);
    json!({"type": "function", "function": function})
}

fn message(message: &Message, specials: &Specials, foreign: &Texts) -> Result<Value, EngineError> {
    let (role, texts) = match message.role {
        Role::System => ("system", foreign),
        Role::User => ("user", foreign),
        Role::Assistant => ("assistant", specials.own()),
        Role::Tool => ("tool", foreign),
    };
    let mark = |text: &str| texts.mark(text);
    let mut pairs: Vec<(&str, Value)> =
        vec![("role", Value::from(role)), ("content", Value::from(mark(&message.content)))];
    if let Some(name) = &message.name {
        pairs.push(("name", Value::from(foreign.mark(name))));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            // Templates print arguments as JSON, so they get them as an object.
            let arguments = match serde_json::from_str::<Json>(&call.arguments) {
                Ok(arguments) => json::value(&arguments, &|text| foreign.mark(text), 0)?,
                Err(_) => Value::from(foreign.mark(&call.arguments)),
            };
            let name = Value::from(foreign.mark(&call.name));
            let function = Value::from_pairs([("name", name), ("arguments", arguments)]);
            Ok(Value::from_pairs([
                ("id", Value::from(foreign.mark(&call.id))),
                ("type", Value::from("function")),
                ("function", function),
            ]))
        });
        let calls = calls.collect::<Result<Vec<_>, EngineError>>()?;
        pairs.push(("tool_calls", Value::from(calls)));
    }
    if let Some(id) = &message.tool_call_id {
        pairs.push(("tool_call_id", Value::from(foreign.mark(id))));
    }
    Ok(Value::from_pairs(pairs))
}
