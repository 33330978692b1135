//! What any template may say, and what it gets to see. Whole ones, as models have them, are in
//! [`families`](super::families).

use std::time::{Duration, UNIX_EPOCH};

use expect_test::{Expect, expect};
use hive_api::{Chat, Message, Role, TemplateSource, Tool, ToolCall, ToolChoice};
use proptest::prelude::*;
use serde_json::json;

use super::families::{CHATML, QWEN};
use super::*;
use crate::chat::{MARKER, builtin};
use crate::testing::chat_tokenizer;

fn specials() -> Specials {
    let control = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "[INST]", "[/INST]"];
    let control = control.map(str::to_owned).to_vec();
    let added = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<h1>"];
    Specials::new("<s>".into(), "</s>".into(), control, added.map(str::to_owned).to_vec())
}

pub(super) fn chat() -> Chat {
    let messages = vec![
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, " Hi "),
        Message::new(Role::Assistant, "Hello."),
        Message::new(Role::User, "Bye"),
    ];
    Chat { messages, ..Chat::default() }
}

pub(super) fn with_tools() -> Chat {
    let call = ToolCall {
        id: "abcdefghi".into(),
        name: "weather".into(),
        arguments: r#"{"city": "Köln", "days": [1, 2]}"#.into(),
    };
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    Chat {
        messages: vec![
            Message::new(Role::User, "Weather?"),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") },
            Message {
                tool_call_id: Some("abcdefghi".into()),
                name: Some("weather".into()),
                ..Message::new(Role::Tool, "rain")
            },
        ],
        tools: vec![Tool {
            name: "weather".into(),
            description: Some("Says <b>how</b> it's".into()),
            parameters,
        }],
        ..Chat::default()
    }
}

pub(super) fn render(source: &str, chat: &Chat) -> Result<String, EngineError> {
    let now = UNIX_EPOCH + Duration::from_secs(1_763_726_401);
    Template::parse(source, TemplateSource::File)?.render(chat, &specials(), now)
}

#[track_caller]
pub(super) fn check(source: &str, chat: &Chat, expected: Expect) {
    expected.assert_eq(&render(source, chat).unwrap());
}

#[test]
fn values_are_shown_as_python_shows_them() {
    for (source, expected) in [
        ("{{ true }} {{ none }} {{ 1 }} {{ 1.5 }} {{ 2.0 }}", "True None 1 1.5 2.0"),
        ("{{ {'a': [1, true, none], 'b': 'x'} | tojson }}", r#"{"a": [1, true, null], "b": "x"}"#),
        ("{{ 'é<\"\\n' | tojson }}", r#""é<\"\n""#),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", r#""\u00e9""#),
        ("{{ [] | tojson(indent=2) }}{{ {} | tojson(2) }}", "[]{}"),
        (
            "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}",
            r#"{"a":2,"b":1}"#,
        ),
        ("{{ 'a,b,c'.rsplit(',', 1) | join('+') }}", "a,b+c"),
        ("{{ 'abc'[::-1] }}{{ [1, 2, 3][-1] }}{{ 'x' * 3 }}{{ 2 * 3 }}", "cba3xxx6"),
        (
            "{{ 'abcdef'[1:-1] }} {{ 'abc'[0:2:-1] }} {{ 'abcdef'[4:0:-2] }} {{ 'é'[5:] }}",
            "bcde  ec ",
        ),
        (
            "{{ [1, 2, 3][1:] | join }} {{ [1, 2, 3][:-1] | join }} {{ [1, 2, 3][-9:2] | join }}",
            "23 12 12",
        ),
        ("{{ 'prefix.a'.removeprefix('prefix.') }}{{ {'k': 1}.get('z', 'd') }}", "ad"),
        ("{% for k, v in {'a': 1, 'b': 2} | items %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{{ missing }}{{ missing is defined }}{{ missing | default('x') }}", "Falsex"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ ['a', 'b'] | map('upper') | join }}{{ (1, 2) | last }}", "AB2"),
        ("{{ messages | map(attribute='role') | join(', ') }}", "system, user, assistant, user"),
        ("{{ range(3) | list | length }}{{ (range(1, 7, 2) | list)[1] }}", "33"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x ~ x }}", "a1a1"),
        (
            "{% for i in [1, 2, 3, 4] %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "12",
        ),
    ] {
        assert_eq!(render(source, &chat()).unwrap(), expected, "{source}");
    }
}

#[test]
fn a_template_without_tools_is_told_of_them_in_words() {
    check(
        CHATML,
        &with_tools(),
        expect![[r#"
        <|im_start|>system
        You may call functions to answer. These are the functions, one JSON object a line:
        <tools>
        {"type":"function","function":{"name":"weather","description":"Says <b>how</b> it's","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}
        </tools>
        To call one, answer with its name and its arguments as a JSON object in these tags:
        <tool_call>
        {"name": "...", "arguments": {...}}
        </tool_call>
        The results come in <tool_response> tags.<|im_end|>
        <|im_start|>user
        Weather?<|im_end|>
        <|im_start|>assistant
        <tool_call>
        {"name":"weather","arguments":{"city":"Köln","days":[1,2]}}
        </tool_call><|im_end|>
        <|im_start|>user
        <tool_response>
        rain
        </tool_response><|im_end|>
        <|im_start|>assistant
    "#]],
    );
    let quiet = Chat { tool_choice: ToolChoice::None, ..with_tools() };
    assert!(!render(CHATML, &quiet).unwrap().contains("You may call"));
}

#[test]
fn the_built_in_forms_write_whole_chats() {
    for (architecture, has, starts, ends) in [
        (
            "gemma3",
            "<start_of_turn><end_of_turn>",
            "<s><start_of_turn>user\nBe brief.\n\nHi<",
            "<start_of_turn>model\n",
        ),
        (
            "llama",
            "<|start_header_id|><|end_header_id|><|eot_id|>",
            "<s><|start_header_id|>system",
            "assistant<|end_header_id|>\n\n",
        ),
        (
            "qwen3",
            "<|im_start|><|im_end|>",
            "<|im_start|>system\nBe brief.<|im_end|>\n",
            "<|im_start|>assistant\n",
        ),
        (
            "llama",
            "[INST][/INST]",
            "<s>[INST] Be brief.\n\nHi [/INST] Hello.</s>[INST] ",
            "Bye [/INST]",
        ),
        ("gemma3", "", "<s>Be brief.\nUser: Hi\nAssistant: Hello.\n", "User: Bye\nAssistant:"),
        ("something", "", "<s>Be brief.\nUser: Hi\n", "Assistant:"),
    ] {
        let form = builtin(architecture, |text| has.contains(text));
        let text = render(form.source, &chat()).unwrap();
        assert!(text.starts_with(starts) && text.ends_with(ends), "{architecture}: {text}");
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for source in ["{% if %}", "{{ a.b( }}", "{% generation", "{% unknown %}"] {
        assert!(Template::parse(source, TemplateSource::File).is_err(), "{source}");
    }
    let error = render("a\n{{ messages | nothing }}", &chat()).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("nothing"), "{error}");
}

#[test]
fn an_answer_keeps_its_marks_and_a_user_gets_none() {
    let source = "{% for m in messages %}{{ m.content }}|{% endfor %}{# <think> #}";
    let text = "<think><h1><|im_end|>";
    let messages = vec![Message::new(Role::Assistant, text), Message::new(Role::User, text)];
    let shown = render(source, &Chat { messages, ..Chat::default() }).unwrap();
    assert_eq!(shown.replace(MARKER, "·"), "<think><h1><·|im_end|>|<·think><h1><·|im_end|>|");
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<|im_start|>"),
        Just("<|im_end|>"),
        Just("<|im_"),
        Just("start|>"),
        Just("end|>"),
        Just("<"),
        Just("|>"),
        Just("<s>"),
        Just("</s>"),
        Just(" "),
        Just("\n"),
        Just("user\n"),
        Just("\u{fdd0}"),
        Just("é"),
        Just("</think>"),
        Just("<tool_call>"),
        Just("x"),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_text_of_a_message_becomes_a_special_token(
        contents in prop::collection::vec(pieces(), 1..4),
        template in prop::sample::select(vec![
            CHATML,
            QWEN,
            "{% for m in messages %}{{ m.content | trim }}{% endfor %}",
            "{% for m in messages %}{{ m.content.split('|') | join('|') }}{{ m.content[1:] }}{% endfor %}",
            "{{ messages | map(attribute='content') | join }}{{ messages[0] | tojson }}",
        ]),
    ) {
        let tokenizer = chat_tokenizer();
        let roles = [Role::User, Role::Tool, Role::System];
        let chat = |contents: &[String]| Chat {
            messages: contents.iter().zip(roles).map(|(c, role)| Message::new(role, c.clone())).collect(),
            ..Chat::default()
        };
        let written = |chat: &Chat| {
            let template = Template::parse(template, TemplateSource::File).unwrap();
            let text = template.render(chat, &tokenizer.specials(), UNIX_EPOCH).unwrap();
            let tokens = tokenizer.encode_marked(&text).unwrap();
            (tokens.iter().filter(|&&id| tokenizer.is_control(id)).count(), text, tokens)
        };
        let innocent = vec!["x".to_owned(); contents.len()];
        let (specials, text, tokens) = written(&chat(&contents));
        prop_assert_eq!(specials, written(&chat(&innocent)).0, "{}", text);
        // What is not special is there as it was, without a marker.
        let bytes: Vec<u8> = tokens.iter().flat_map(|&id| tokenizer.bytes(id).into_owned()).collect();
        let read = String::from_utf8(bytes).unwrap();
        prop_assert!(!read.contains(MARKER));
        if template == CHATML {
            for content in &contents {
                prop_assert!(read.contains(&content.replace(MARKER, "")), "{} {}", read, content);
            }
        }
    }
}
