use hive_api::Tool;
use proptest::prelude::*;

use super::*;

fn reader() -> Calls {
    let tool =
        |name: &str| Tool { name: name.to_owned(), description: None, parameters: Json::Null };
    Calls::new(&[tool("weather"), tool("add")], 7)
}

/// What comes out, with calls as `name(arguments)`.
fn shown(reads: Vec<Read>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut in_text = false;
    for read in reads {
        match read {
            Read::Text(text) if in_text => out.last_mut().unwrap().push_str(&text),
            Read::Text(text) => {
                out.push(text);
                in_text = true;
            }
            Read::Call(call) => {
                out.push(format!("CALL {}({})", call.name, call.arguments));
                in_text = false;
            }
        }
    }
    out
}

/// Reads a text in pieces of so many characters.
fn read(text: &str, piece: usize) -> Vec<String> {
    let mut reader = reader();
    let mut reads = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(piece) {
        reads.extend(reader.push(&piece.iter().collect::<String>()));
    }
    reads.extend(reader.finish());
    shown(reads)
}

#[test]
fn calls_are_read_in_the_way_of_each_family() {
    const CALL: &str = r#"CALL weather({"city":"Paris"})"#;
    for (text, expected) in [
        (
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
            vec![CALL],
        ),
        (
            "Let me see.\n<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>\n\
             <tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>\n",
            vec!["Let me see.\n", CALL, "CALL add({})"],
        ),
        // Not closed.
        ("<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}", vec![CALL]),
        (
            "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}, {\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
            vec![CALL, r#"CALL add({"a":1})"#],
        ),
        ("[TOOL_CALLS]weather[ARGS]{\"city\": \"Paris\"}", vec![CALL]),
        ("[TOOL_CALLS]weather{\"city\": \"Paris\"}[TOOL_CALLS]add{}", vec![CALL, "CALL add({})"]),
        (
            "<|python_tag|>{\"type\": \"function\", \"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}",
            vec![CALL],
        ),
        ("{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}", vec![CALL]),
        ("\n [{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}]", vec![CALL]),
        (
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\"}}; {\"name\": \"add\", \"parameters\": {}}",
            vec![CALL, "CALL add({})"],
        ),
        (
            "{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Paris\\\"}\"}}",
            vec![CALL],
        ),
        (
            "Sure:\n```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n```",
            vec!["Sure:\n", CALL],
        ),
        (
            "```tool_code\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n```\nDone.",
            vec![CALL, "Done."],
        ),
        // A closing tag and braces in a text.
        (
            "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"}\\\"</tool_call>\"}}</tool_call>",
            vec![r#"CALL weather({"city":"}\"</tool_call>"})"#],
        ),
    ] {
        for piece in [1, 2, 3, 7, 1_000] {
            assert_eq!(read(text, piece), expected, "{text} by {piece}");
        }
    }
}

#[test]
fn what_is_no_call_comes_out_as_it_was() {
    for text in [
        "plain",
        "a < b and a <tool_cal",
        "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"arguments\": 3}</tool_call>",
        "<tool_call>{\"name\": \"weather\", </tool_call> and so on",
        "<tool_call>weather(1)</tool_call>",
        "[TOOL_CALLS]nothing{\"a\": 1}",
        "[TOOL_CALLS]",
        "[1, 2, 3]",
        "{\"city\": \"Paris\"}",
        "{\"name\": \"Ada\", \"age\": 36}",
        "```json\n{\"a\": 1}\n```\nand more",
        "```json\n[\n",
        "<|python_tag|>print(1)",
        "  leading and trailing  ",
        "{\"name\": \"weather\", \"arguments\": {\"city\": \"Par",
        "\u{e9}<tool_call>\u{e9}",
        "",
    ] {
        for piece in [1, 2, 5, 1_000] {
            assert_eq!(read(text, piece).concat(), text, "by {piece}");
        }
    }
}

#[test]
fn text_is_held_back_only_while_it_may_become_a_call() {
    let mut calls = reader();
    for (text, now) in [
        ("Hel", "Hel"),
        ("lo <", "lo "),
        ("b> {", "<b> {"),
        ("\"a\": [TOOL", "\"a\": "),
        ("S]", "[TOOLS]"),
        ("\n```", "\n"),
        ("rust", "```rust"),
        ("\n```\n", "\n```\n"),
    ] {
        let out: String = shown(calls.push(text)).concat();
        assert_eq!(out, now, "{text}");
    }
    // JSON that begins as no call does is not held back to its end.
    let mut calls = reader();
    assert_eq!(shown(calls.push("{\"city\": ")), ["{\"city\": "]);
}

#[test]
fn a_call_without_end_is_text_and_bounded() {
    let mut calls = reader();
    let mut out =
        shown(calls.push("<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \""))
            .concat();
    let mut n = 0;
    while out.is_empty() {
        out = shown(calls.push(&"x".repeat(1_000))).concat();
        n += 1;
        assert!(n < 200, "it is held for ever");
    }
    assert!(out.starts_with("<tool_call>{"));
}

#[test]
fn ids_are_nine_letters_and_follow_from_the_seed() {
    let ids = |seed| {
        let mut calls = Calls::new(&[], seed);
        [calls.id(), calls.id()]
    };
    let [a, b] = ids(1);
    assert!(a.len() == 9 && a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_ne!(a, b);
    assert_eq!(ids(1), [a, b]);
    assert_ne!(ids(1), ids(2));
}

proptest! {
    #[test]
    fn how_the_text_is_cut_does_not_matter(
        parts in prop::collection::vec(prop_oneof![
            Just("<tool_call>"), Just("</tool_call>"), Just("[TOOL_CALLS]"), Just("{"), Just("}"),
            Just("[{"), Just("}]"), Just("\"name\": \"weather\""), Just(", \"arguments\": {}"),
            Just("```json\n"), Just("```"), Just(" "), Just("\n"), Just("<"), Just("x"), Just("weather"),
            Just("{\"name\": \"add\", \"parameters\": {\"a\": 1}}"), Just("<|python_tag|>"),
        ], 0..14),
        piece in 1_usize..9,
    ) {
        let text = parts.concat();
        let whole = read(&text, usize::MAX);
        prop_assert_eq!(read(&text, piece), whole.clone());
        if !whole.iter().any(|part| part.starts_with("CALL ")) {
            prop_assert_eq!(whole.concat(), text);
        }
    }
}
