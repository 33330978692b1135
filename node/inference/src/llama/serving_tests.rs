//! Several texts at once, and what is remembered of them.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::gguf_file::Value;
use hive_api::{
    Chat, FailureKind, Format, Message, Role, Sampling, TokenLogprob, Tool, ToolChoice,
};

use super::tests::{Ended, TINY_HIVE, greedy, run, run_all, step, tiny_hive};
use super::*;
use crate::testing::Tiny;

fn tiny_hive_with(options: EngineOptions) -> Llama {
    Llama::load(Cursor::new(TINY_HIVE), &options).expect("the committed model loads")
}

/// 200 tokens of English and more.
fn long() -> String {
    "The node asks the swarm for peers, and each of them may lie about what it holds. ".repeat(3)
        [..200]
        .to_owned()
}

#[test]
fn texts_worked_at_together_are_what_they_are_alone() {
    let request = |prompt: &str, seed| GenerateRequest {
        sampling: Sampling { seed, temperature: seed as f32 / 4.0, ..Sampling::default() },
        ..greedy(prompt, 30)
    };
    let requests = || {
        let long = long();
        vec![request("The ", 0), request(&long, 1), request("A peer ", 2), request("It is", 3)]
    };
    let alone: Vec<String> =
        requests().into_iter().map(|request| run(&mut tiny_hive(), request).text).collect();
    let together: Vec<String> =
        run_all(&mut tiny_hive(), requests()).into_iter().map(|ended| ended.text).collect();
    assert_eq!(together, alone);
}

#[test]
fn a_long_prompt_does_not_hold_up_a_text_that_is_being_written() {
    let mut llama = tiny_hive();
    llama.begin(1, greedy("The ", 100)).expect("it is taken in");
    let mut texts = BTreeMap::new();
    step(&mut llama, &mut texts);
    llama.begin(2, greedy(long().as_str(), 5)).expect("it is taken in");
    let mut n_steps = 0;
    while !texts.contains_key(&2) {
        let before = texts[&1].text.len();
        step(&mut llama, &mut texts);
        // A token of this model is a byte of ASCII.
        assert_eq!(texts[&1].text.len(), before + 1);
        n_steps += 1;
    }
    assert_eq!(n_steps, 201_usize.div_ceil(SHARED_CHUNK));
}

#[test]
fn a_short_prompt_is_read_while_a_long_one_is() {
    let mut llama = tiny_hive();
    llama.begin(1, greedy(long().as_str(), 5)).expect("it is taken in");
    llama.begin(2, greedy("It is", 5)).expect("it is taken in");
    let mut texts = BTreeMap::new();
    step(&mut llama, &mut texts);
    assert!(texts.contains_key(&2) && !texts.contains_key(&1));
}

#[test]
fn no_more_texts_are_taken_in_than_there_are_places() {
    let mut llama = tiny_hive_with(EngineOptions { places: 2, ..EngineOptions::default() });
    assert_eq!(llama.free(), 2);
    llama.begin(1, greedy("a", 2)).expect("a place is free");
    llama.begin(2, greedy("b", 9)).expect("a place is free");
    assert!(matches!(llama.begin(3, greedy("c", 2)), Err(EngineError::Request { .. })));
    let mut texts = BTreeMap::new();
    while llama.free() == 0 {
        step(&mut llama, &mut texts);
    }
    assert!(texts[&1].end.is_some());
    llama.begin(3, greedy("c", 2)).expect("a place is free again");
}

#[test]
fn a_text_without_a_limit_goes_on_to_the_end_of_the_context() {
    let request = GenerateRequest { max_tokens: None, ..greedy("The ", 0) };
    let generated = run(&mut tiny_hive(), request).generated();
    assert_eq!(generated.prompt_tokens + generated.generated_tokens, 256);
    assert_eq!(generated.finish, Finish::Length);
}

#[test]
fn a_text_of_no_tokens_is_over_at_once() {
    let ended = run(&mut tiny_hive(), greedy("The ", 0));
    assert_eq!((ended.generated().finish, ended.generated().generated_tokens), (Finish::Length, 0));
    assert_eq!(ended.text, "");
}

#[test]
fn requests_that_make_no_sense_are_refused_by_name() {
    let mut llama = tiny_hive();
    let top_p = Sampling { top_p: Some(2.0), ..Sampling::default() };
    for (request, name) in [
        (GenerateRequest { sampling: top_p, ..greedy("a", 1) }, "top_p"),
        (GenerateRequest { logprobs: Some(21), ..greedy("a", 1) }, "logprobs"),
        (GenerateRequest { stop: vec!["a".repeat(2_000)], ..greedy("a", 1) }, "stop"),
        (GenerateRequest { stop: vec![String::new(); 100], ..greedy("a", 1) }, "stop"),
        (greedy(Prompt::Tokens(Vec::new()), 1), "empty"),
        (greedy(Prompt::Tokens(vec![5, 260]), 1), "260"),
        (
            GenerateRequest { format: Some(Format::Regex("(".to_owned())), ..greedy("a", 1) },
            "regex",
        ),
    ] {
        let error = llama.begin(1, request).expect_err(name);
        assert!(matches!(&error, EngineError::Request { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(llama.free(), llama.places);
}

#[test]
fn tokens_are_taken_as_they_are() {
    let mut llama = tiny_hive();
    let tokens = llama.tokenize("The ").expect("it is text");
    let expected = run(&mut llama, greedy("The ", 20)).text;
    assert_eq!(run(&mut llama, greedy(Prompt::Tokens(tokens), 20)).text, expected);
}

/// Who forbids every token gets nothing, and nobody else notices.
#[test]
fn a_text_that_fails_fails_alone() {
    let mut llama = tiny_hive();
    let expected = run(&mut tiny_hive(), greedy("The ", 20)).text;
    let logit_bias = (0..260).map(|token| (token, -100.0)).collect();
    let sampling = Sampling { logit_bias, ..Sampling::default() };
    let texts = run_all(
        &mut llama,
        vec![greedy("The ", 20), GenerateRequest { sampling, ..greedy("A peer ", 20) }],
    );
    assert_eq!(texts[0].text, expected);
    assert_eq!(texts[0].generated().generated_tokens, 20);
    let failure = texts[1].end.clone().expect("it ended").expect_err("nothing may follow");
    assert_eq!(failure.kind, FailureKind::Compute);
    assert_eq!(llama.free(), llama.places);
}

#[test]
fn log_probabilities_are_those_of_the_model() {
    let mut llama = tiny_hive();
    let warm = Sampling { temperature: 1.5, logit_bias: [(40, 3.0)].into(), ..Sampling::default() };
    let request = GenerateRequest { logprobs: Some(5), sampling: warm, ..greedy("The swarm ", 30) };
    let ended = run(&mut llama, request.clone());
    assert_eq!(ended.tokens.len(), 30);
    let bytes: Vec<u8> = ended.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), ended.text);
    for token in &ended.tokens {
        assert_eq!(token.top.len(), 5);
        assert!(token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        assert!(token.logprob <= token.top[0].logprob && token.logprob < 0.0);
        assert!(token.top.iter().map(|other| other.logprob.exp()).sum::<f32>() <= 1.0 + 1e-5);
        for other in token.top.iter().filter(|other| other.token == token.token) {
            assert!((other.logprob - token.logprob).abs() < 1e-6);
        }
    }
    // All of them are all there is.
    let all = GenerateRequest { logprobs: Some(20), ..greedy("The swarm ", 1) };
    let first = run(&mut llama, all).tokens.remove(0);
    let reference = reference(&llama, "The swarm ");
    for token in first.top {
        assert!((reference[token.token as usize] - token.logprob).abs() < 1e-3);
    }
}

/// The log-probabilities after a prompt, by candle.
fn reference(llama: &Llama, prompt: &str) -> Vec<f32> {
    let tokens = llama.tokenize(prompt).expect("it is text");
    let mut cache = llama.decoder.cache();
    let stretch = Stretch { tokens: &tokens, cache: &mut cache, rows: Rows::Last };
    let logits = llama.decoder.forward(&mut [stretch]).expect("it computes").expect("a row");
    let logs = log_softmax(&logits, 1).and_then(|logs| logs.flatten_all()?.to_vec1());
    logs.expect("it is a row")
}

#[test]
fn tokens_of_held_back_text_come_with_the_piece_that_frees_it() {
    let mut llama = tiny_hive();
    let text = run(&mut llama, greedy("The ", 40)).text;
    let stop = &text[20..24];
    let end = text.find(stop).expect("it is part of the text");
    let request =
        GenerateRequest { logprobs: Some(0), stop: vec![stop.to_owned()], ..greedy("The ", 40) };
    let ended = run(&mut llama, request);
    let bytes = |tokens: &[TokenLogprob]| -> Vec<u8> {
        tokens.iter().flat_map(|token| token.bytes.clone()).collect()
    };
    // What the stop string cut off has no tokens either.
    assert_eq!(bytes(&ended.tokens), &text.as_bytes()[..end]);
    // A string that never comes holds back what it might begin with.
    let request = GenerateRequest {
        logprobs: Some(0),
        stop: vec![format!("{}\u{1f41d}", &text[10..20])],
        ..greedy("The ", 40)
    };
    let ended = run(&mut llama, request);
    assert_eq!((bytes(&ended.tokens), ended.text.as_str()), (text.clone().into_bytes(), &text[..]));
}

#[test]
fn text_is_held_to_a_form() {
    let mut llama = tiny_hive();
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["n"],
        "additionalProperties": false,
    });
    let request = |seed| GenerateRequest {
        format: Some(Format::JsonSchema(schema.clone())),
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
        ..greedy("{", 200)
    };
    let texts = run_all(&mut llama, (0..4).map(request).collect());
    for ended in texts {
        assert_eq!(ended.generated().finish, Finish::Stop, "{}", ended.text);
        let value: serde_json::Value = serde_json::from_str(&ended.text).expect("it is JSON");
        assert!(value["n"].as_u64().is_some_and(|n| n < 100), "{value}");
    }
}

fn chat(content: &str, tool_choice: ToolChoice) -> Chat {
    let parameters = serde_json::json!({
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": false,
    });
    let tool = Tool { name: "lamp".to_owned(), description: None, parameters };
    Chat {
        messages: vec![Message::new(Role::User, content)],
        tools: vec![tool],
        tool_choice,
        template: Some("{{ messages[0].content }}{% if tools %} {% endif %}".to_owned()),
        ..Chat::default()
    }
}

#[test]
fn a_tool_that_must_be_called_is_called() {
    let mut llama = tiny_hive();
    let request = greedy(Prompt::Chat(chat("Light!", ToolChoice::Required)), 200);
    llama.begin(1, request).expect("it is taken in");
    let (mut outputs, mut step) = (Vec::new(), Vec::new());
    while llama.free() < llama.places {
        llama.step(&mut step);
        outputs.append(&mut step);
    }
    let [(1, Output::ToolCall(call)), (1, Output::Done(generated))] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((call.name.as_str(), generated.finish), ("lamp", Finish::ToolCalls));
    let arguments: serde_json::Value = serde_json::from_str(&call.arguments).expect("it is JSON");
    assert!(arguments["on"].is_boolean(), "{arguments}");
}

#[test]
fn a_chat_is_written_out_by_its_template() {
    let mut llama = tiny_hive();
    let expected = run(&mut llama, greedy("The ", 20)).text;
    let said = Chat { tools: Vec::new(), ..chat("The ", ToolChoice::Auto) };
    let ended = run(&mut llama, greedy(Prompt::Chat(said), 20));
    assert_eq!(ended.text, expected);
    let broken = Chat { template: Some("{% nonsense".to_owned()), ..Chat::default() };
    assert!(llama.begin(1, greedy(Prompt::Chat(broken), 20)).is_err());
    assert!(llama.info().template.is_some());
}

#[test]
fn a_prompt_goes_on_from_a_text_that_ended() {
    let prompt = long();
    let mut llama = tiny_hive();
    let first = run(&mut llama, greedy(prompt.as_str(), 20));
    assert_eq!(first.generated().cached_tokens, 0);
    // The same once more: all but the last token.
    let again = run(&mut llama, greedy(prompt.as_str(), 20));
    assert_eq!(again.generated().cached_tokens, 200);
    assert_eq!(again.text, first.text);
    // The next turn: what was generated too, but for its last token, which was never read.
    let next = format!("{prompt}{} And", first.text);
    let expected = run(&mut tiny_hive(), greedy(next.as_str(), 10));
    let ended = run(&mut llama, greedy(next.as_str(), 10));
    assert_eq!(ended.generated().cached_tokens, 220);
    assert_eq!(ended.text, expected.text);
    // Another end.
    let other = format!("{}ALSO", &prompt[..150]);
    let expected = run(&mut tiny_hive(), greedy(other.as_str(), 10));
    let ended = run(&mut llama, greedy(other.as_str(), 10));
    assert_eq!(ended.generated().cached_tokens, 151);
    assert_eq!(ended.text, expected.text);
}

#[test]
fn nothing_is_remembered_without_memory_for_it() {
    let mut llama = tiny_hive_with(EngineOptions { prefix_bytes: 0, ..EngineOptions::default() });
    let first = run(&mut llama, greedy(long().as_str(), 20));
    let again = run(&mut llama, greedy(long().as_str(), 20));
    assert_eq!((again.generated().cached_tokens, again.text), (0, first.text));
    assert_eq!(llama.prefixes.n_bytes(), 0);
}

#[test]
fn what_a_cancelled_text_read_is_remembered() {
    let mut llama = tiny_hive();
    llama.begin(1, greedy(long().as_str(), 20)).expect("it is taken in");
    let mut texts = BTreeMap::<Ticket, Ended>::new();
    step(&mut llama, &mut texts);
    llama.cancel(1);
    step(&mut llama, &mut texts);
    let again = run(&mut llama, greedy(long().as_str(), 20));
    assert_eq!(again.generated().cached_tokens as usize, CHUNK);
}

/// Four answers to one question: it is read once.
#[test]
fn a_prompt_that_is_being_read_is_not_read_again() {
    let mut llama = tiny_hive();
    let request = |seed| GenerateRequest {
        sampling: Sampling { seed, temperature: 1.0, ..Sampling::default() },
        ..greedy(long().as_str(), 20)
    };
    let texts = run_all(&mut llama, (0..4).map(request).collect());
    let cached: Vec<u32> = texts.iter().map(|ended| ended.generated().cached_tokens).collect();
    assert_eq!(cached, [0, 200, 200, 200]);
    for (seed, ended) in texts.iter().enumerate() {
        assert_eq!(ended.text, run(&mut tiny_hive(), request(seed as u64)).text);
    }
}

/// A layer with a window has lost the beginning that two long prompts share when the second comes,
/// so the second leaves it for the third.
#[test]
fn a_beginning_that_windows_have_passed_is_remembered_the_second_time() {
    let mut tiny = Tiny::new("gemma3");
    tiny.set("gemma3.context_length", Value::U32(4_000));
    let file = tiny.file();
    let load = || {
        Llama::load(Cursor::new(file.clone()), &EngineOptions::default()).expect("it is a model")
    };
    let prompt = |end: char| format!("{}{}", "abcdefgh".repeat(20), end.to_string().repeat(900));
    let mut llama = load();
    let cached: Vec<u32> = ['x', 'y', 'z']
        .into_iter()
        .map(|end| run(&mut llama, greedy(prompt(end).as_str(), 3)).generated().cached_tokens)
        .collect();
    assert_eq!(cached, [0, 0, 161]);
    let expected = run(&mut load(), greedy(prompt('w').as_str(), 20)).text;
    let ended = run(&mut llama, greedy(prompt('w').as_str(), 20));
    assert_eq!((ended.generated().cached_tokens, ended.text), (161, expected));
}

#[test]
fn what_is_remembered_stays_within_its_bound_and_the_least_used_goes_first() {
    // A token of this model takes so many bytes, and 4 for its number.
    let per_token = tiny_hive().info().bytes_per_token + 4;
    let bound = per_token * 250;
    let mut llama =
        tiny_hive_with(EngineOptions { prefix_bytes: bound, ..EngineOptions::default() });
    let prompt = |letter: char| letter.to_string().repeat(99);
    let mut ask = |letter| run(&mut llama, greedy(prompt(letter).as_str(), 1)).generated();
    // 100 tokens each: two of them fit.
    assert_eq!((ask('a').cached_tokens, ask('b').cached_tokens), (0, 1));
    assert_eq!((ask('a').cached_tokens, ask('c').cached_tokens), (99, 1));
    assert_eq!((ask('a').cached_tokens, ask('b').cached_tokens), (99, 1));
    assert_eq!(llama.prefixes.n_bytes(), per_token * 200);
    // What does not fit at all drives nothing out.
    run(&mut llama, greedy("d".repeat(254).as_str(), 1));
    assert_eq!(llama.prefixes.n_bytes(), per_token * 200);
}
