use std::io::Cursor;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::testing::Tiny;

/// The vocabulary of the model in `assets`, and one of bytes alone.
fn tokenizer(name: &str) -> Tokenizer {
    let file = match name {
        "assets" => {
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny-hive.gguf")).unwrap()
        }
        _ => Tiny::new("llama").file(),
    };
    Tokenizer::read(&crate::read_header(&mut Cursor::new(file)).unwrap().0).unwrap()
}

struct Model {
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
}

/// More logits than tokens, as some files have.
const SPARE: usize = 5;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let tokenizer = tokenizer("assets");
        let vocabulary = Vocabulary::new(&tokenizer, tokenizer.len() + SPARE).unwrap();
        Model { tokenizer, vocabulary }
    })
}

fn refused(format: &Format) -> String {
    let started = Instant::now();
    let error = Constraint::new(&model().vocabulary, format).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}: {error}", started.elapsed());
    assert!(matches!(error, EngineError::Request { .. }), "{error:?}");
    error.to_string()
}

/// What a model of noise writes under a form: the text, and whether it came to its end.
fn noise(format: &Format, seed: u64, most: usize) -> (String, bool) {
    let Model { tokenizer, vocabulary } = model();
    let mut constraint = Constraint::new(vocabulary, format).unwrap();
    let (mut state, mut bytes) = (seed, Vec::new());
    for n in 0..most {
        let mut logits: Vec<f32> = (0..vocabulary.tokens)
            .map(|id| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(id as u64 | 1);
                (state >> 40) as f32 / (1 << 24) as f32
            })
            .collect();
        // A model that has talked enough wants to end.
        if most / 4 < n {
            for (id, logit) in logits.iter_mut().enumerate() {
                let closes = |b: &[u8]| matches!(b, [b'"' | b'}' | b']' | b'1' | b'-']);
                if tokenizer.is_end(id as u32) || closes(&tokenizer.bytes(id as u32)) {
                    *logit += 10.0;
                }
            }
        }
        constraint.mask(&mut logits).unwrap();
        assert_eq!(logits[tokenizer.len()..], [f32::NEG_INFINITY; SPARE]);
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert!(logits[best].is_finite());
        if tokenizer.is_end(best as u32) {
            return (String::from_utf8(bytes).unwrap(), true);
        }
        constraint.accept(best as u32).unwrap();
        bytes.extend_from_slice(&tokenizer.bytes(best as u32));
        if constraint.is_done() {
            return (String::from_utf8(bytes).unwrap(), true);
        }
    }
    (String::from_utf8_lossy(&bytes).into_owned(), false)
}

/// Whether a value is as the part of JSON schema says that the tests use.
fn fits(value: &Value, schema: &Value) -> bool {
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| fits(value, schema));
    }
    if let Some(all) = schema["enum"].as_array() {
        return all.contains(value);
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        return false;
    }
    let number = |key: &str| schema[key].as_f64();
    match (schema["type"].as_str(), value) {
        (None, _) | (Some("null"), Value::Null) | (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer"), Value::Number(n)) if n.is_f64() => false,
        (Some("integer" | "number"), Value::Number(n)) => {
            let n = n.as_f64().unwrap();
            number("minimum").is_none_or(|low| low <= n) && number("maximum").is_none_or(|h| n <= h)
        }
        (Some("string"), Value::String(text)) => {
            let len = text.chars().count() as f64;
            number("minLength").is_none_or(|low| low <= len)
                && number("maxLength").is_none_or(|high| len <= high)
                && (schema.get("pattern").is_none()
                    || text.strip_prefix("ID-").is_some_and(|digits| {
                        digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())
                    }))
        }
        (Some("array"), Value::Array(items)) => {
            let len = items.len() as f64;
            number("minItems").is_none_or(|low| low <= len)
                && number("maxItems").is_none_or(|high| len <= high)
                && items.iter().all(|item| fits(item, &schema["items"]))
        }
        (Some("object"), Value::Object(map)) => {
            let known = schema["properties"].as_object();
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            required.iter().all(|key| map.contains_key(key.as_str().unwrap()))
                && map.iter().all(|(key, value)| match known.and_then(|known| known.get(key)) {
                    Some(schema) => fits(value, schema),
                    None => schema["additionalProperties"] != json!(false),
                })
        }
        _ => false,
    }
}

fn schemas() -> Vec<Value> {
    vec![
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 12},
                "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "kind": {"enum": ["cat", "dog", 7, null]},
                "id": {"type": "string", "pattern": "^ID-[0-9]{3}$"},
            },
            "required": ["name", "age", "kind", "id"],
            "additionalProperties": false,
        }),
        json!({
            "type": "array", "minItems": 1, "maxItems": 3,
            "items": {"type": "array", "maxItems": 2, "items": {"type": "number", "minimum": -1, "maximum": 1}},
        }),
        json!({
            "anyOf": [
                {"type": "object", "properties": {"a": {"const": "x"}, "b": {"type": "boolean"}},
                 "required": ["a"], "additionalProperties": false},
                {"type": "integer", "minimum": 10, "maximum": 20},
            ],
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_the_model_wants_the_text_has_the_form(seed: u64, which in 0_usize..3) {
        let schema = &schemas()[which];
        let (text, ended) = noise(&Format::JsonSchema(schema.clone()), seed, 400);
        prop_assert!(ended, "{}", text);
        let value: Value = serde_json::from_str(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert!(fits(&value, schema), "{} is not {}", text, schema);
    }
}

#[test]
fn the_checker_of_these_tests_can_say_no() {
    let [object, list, any] = &schemas()[..] else { panic!() };
    for (value, schema) in [
        (json!({"name": "", "age": 1, "kind": "cat", "id": "ID-123"}), object),
        (json!({"name": "a", "age": 151, "kind": "cat", "id": "ID-123"}), object),
        (json!({"name": "a", "age": 1, "kind": "cow", "id": "ID-123"}), object),
        (json!({"name": "a", "age": 1, "kind": "cat", "id": "ID-12"}), object),
        (json!({"name": "a", "age": 1, "kind": "cat", "id": "ID-123", "more": 1}), object),
        (json!([]), list),
        (json!([[1.5]]), list),
        (json!(9), any),
        (json!({"b": true}), any),
    ] {
        assert!(!fits(&value, schema), "{value}");
    }
}

#[test]
fn an_object_a_regular_expression_and_a_grammar_hold_too() {
    for seed in 0..8 {
        let (text, ended) = noise(&Format::JsonObject, seed, 200);
        if ended {
            assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
        }
        let (text, ended) = noise(&Format::Regex("[ab]{2,5}-(x|yz)".to_owned()), seed, 40);
        let (letters, end) = text.split_once('-').unwrap();
        assert!(ended && (2..=5).contains(&letters.len()), "{text}");
        assert!(
            letters.bytes().all(|b| b"ab".contains(&b)) && ["x", "yz"].contains(&end),
            "{text}"
        );
        let lark = "start: \"yes\" | \"no\" (\" \" WORD){2}\nWORD: /[a-z]{1,3}/".to_owned();
        let (text, ended) = noise(&Format::Lark(lark), seed, 40);
        assert!(ended && (text == "yes" || text.starts_with("no ")), "{text}");
    }
}

#[test]
fn a_vocabulary_of_bytes_alone_does_as_well() {
    let tokenizer = tokenizer("bytes");
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.len()).unwrap();
    let form = Format::Regex("é!".to_owned());
    let mut constraint = Constraint::new(&vocabulary, &form).unwrap();
    for byte in "é!".bytes() {
        let mut logits = vec![0.0; vocabulary.tokens];
        assert!(!constraint.may_end());
        constraint.mask(&mut logits).unwrap();
        let open: Vec<u32> =
            (0..logits.len() as u32).filter(|&id| logits[id as usize] == 0.0).collect();
        assert_eq!(open.len(), 1);
        assert_eq!(*tokenizer.bytes(open[0]), [byte]);
        constraint.accept(open[0]).unwrap();
    }
    assert!(constraint.is_done() && constraint.may_end());
    let mut logits = vec![0.0; vocabulary.tokens];
    constraint.mask(&mut logits).unwrap();
    let open = (0..logits.len() as u32).filter(|&id| logits[id as usize] == 0.0);
    assert!(open.into_iter().all(|id| tokenizer.is_end(id)));
}

#[test]
fn a_hostile_vocabulary_is_cut_or_refused() {
    let twins = vec![b"same".to_vec(); 200_000];
    let mut words = [twins, vec![vec![b'x'; 100_000], b"y".to_vec()]].concat();
    bound(&mut words).unwrap();
    assert_eq!(words.iter().filter(|word| !word.is_empty()).count(), 9);
    let mut words: Vec<Vec<u8>> = (0..40_000).map(|n| format!("{n:0200}").into_bytes()).collect();
    assert!(bound(&mut words).unwrap_err().to_string().contains("8000000 bytes"));
}

#[test]
fn a_token_that_was_not_allowed_is_an_error() {
    let mut constraint = Constraint::new(&model().vocabulary, &Format::Regex("a".into())).unwrap();
    let wrong = (0..model().tokenizer.len() as u32)
        .find(|&id| model().tokenizer.bytes(id).starts_with(b"b"))
        .unwrap();
    assert!(constraint.accept(wrong).is_err());
    let mut logits = vec![0.0; model().vocabulary.tokens];
    assert!(constraint.mask(&mut logits).is_err());
}

#[test]
fn what_cannot_be_enforced_is_refused_by_name() {
    for (schema, word) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"type": "object", "propertyNames": {"pattern": "a"}}), "propertyNames"),
        (
            json!({"type": "object", "minProperties": 2, "dependentRequired": {"a": ["b"]}}),
            "dependentRequired",
        ),
        (json!({"$ref": "https://example.com/schema.json"}), "example.com"),
        (json!({"properties": {"a": {"$ref": "file:///etc/passwd#"}}}), "passwd"),
        (json!({"$ref": "#/$defs/none"}), "none"),
        (json!({"x-guidance": {"lenient": true}, "uniqueItems": true}), "x-guidance"),
        (json!({"type": "strange"}), "strange"),
        (json!(["type"]), "object"),
    ] {
        let error = refused(&Format::JsonSchema(schema.clone()));
        assert!(error.contains(word), "{schema}: {error}");
    }
    for (format, word) in [
        (Format::Regex("(a".into()), "refused"),
        (Format::Regex("a(?=b)".into()), "refused"),
        (Format::Lark("start: nothing".into()), "nothing"),
        (Format::Lark("start: %json {\"x-guidance\": {}}".into()), "x-guidance"),
    ] {
        let error = refused(&format);
        assert!(error.contains(word), "{format:?}: {error}");
    }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn bombs() -> Vec<(&'static str, Format)> {
    let schema = Format::JsonSchema;
    let mut deep = json!({"type": "string"});
    let mut wide = json!({"type": "string"});
    for _ in 0..300 {
        deep = json!({"items": deep});
    }
    for level in 0..7 {
        let properties: serde_json::Map<String, Value> =
            (0..3).map(|n| (format!("p{level}_{n}"), wide.clone())).collect();
        wide = json!({"type": "object", "properties": properties});
    }
    let all: Vec<Value> = (0..14)
        .map(|n| {
            json!({"anyOf": [{"properties": {format!("a{n}"): {"type": "string"}}},
                                  {"properties": {format!("b{n}"): {"type": "integer"}}}]})
        })
        .collect();
    let keys: serde_json::Map<String, Value> =
        (0..600).map(|n| (format!("^k{n}.*[a-z]{{3,9}}$"), json!({"type": "string"}))).collect();
    let chain: serde_json::Map<String, Value> = (0..60)
        .map(|n| {
            let next = format!("#/$defs/d{}", n + 1);
            (format!("d{n}"), json!({"allOf": [{"$ref": next}, {"$ref": next}]}))
        })
        .chain([("d60".to_owned(), json!({"type": "integer"}))])
        .collect();
    vec![
        ("a deep schema", schema(deep)),
        ("a wide schema", schema(wide)),
        ("a long schema", schema(json!({"enum": ["x".repeat(70_000)]}))),
        ("choices that multiply", schema(json!({"allOf": all}))),
        ("a schema that is itself", schema(json!({"$ref": "#"}))),
        (
            "schemas that are each other",
            schema(json!({"allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}})),
        ),
        ("references that double", schema(json!({"$ref": "#/$defs/d0", "$defs": chain}))),
        ("patterns of keys", schema(json!({"type": "object", "patternProperties": keys}))),
        ("a long list", schema(json!({"type": "array", "minItems": 1_000_000_000_u64}))),
        ("a long text", schema(json!({"type": "string", "maxLength": 1_000_000_000_u64}))),
        (
            "lists in lists",
            schema(json!({"type": "array", "minItems": 4000, "items":
            {"type": "array", "minItems": 4000, "items": {"type": "array", "minItems": 4000}}})),
        ),
        (
            "a long text with a pattern",
            schema(json!({"type": "string", "minLength": 4000,
            "pattern": "^(.*a.*b.*c.*){50}$"})),
        ),
        ("multiples", schema(json!({"type": "integer", "multipleOf": 999_999_937}))),
        ("repetitions", Format::Regex("((a{1000}){1000}){1000}".into())),
        ("many repetitions", Format::Regex("((((a|b){1,99}c){1,99}d){1,99}e){1,99}".into())),
        ("a huge count", Format::Regex("a{1,99999999}".into())),
        ("two to the n", Format::Regex(format!("(.*a){}.{{500}}", "[ab]".repeat(40)))),
        ("n places back", Format::Regex("(.*[ab])a.{60}".into())),
        ("deep parentheses", Format::Regex("(".repeat(30_000))),
        (
            "deep rules",
            Format::Lark(format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000))),
        ),
        ("a rule of itself", Format::Lark("start: start start start | \"a\" start | \"\"".into())),
        ("ambiguous rules", Format::Lark("start: a a a a a a a a\na: a a | \"a\" | \"\"".into())),
        ("a long grammar", Format::Lark("start: \"a\"\n".repeat(10_000))),
        ("a file", Format::Lark("%import /etc/passwd\nstart: \"a\"".into())),
    ]
}

/// A form that is let through must be cheap to keep as well.
#[test]
fn bombs_are_refused_or_cheap() {
    let vocabulary = &model().vocabulary;
    for (name, format) in bombs() {
        let (before, started) = (peak(), Instant::now());
        let outcome = match Constraint::new(vocabulary, &format) {
            Err(error) => error.to_string(),
            Ok(mut constraint) => (0..60)
                .find_map(|_| {
                    let mut logits = vec![0.0; vocabulary.tokens];
                    constraint.mask(&mut logits).err().or_else(|| {
                        let id = logits.iter().position(|logit| logit.is_finite())?;
                        constraint.accept(id as u32).err()
                    })
                })
                .map_or_else(|| "kept".to_owned(), |error| error.to_string()),
        };
        let (took, grown) = (started.elapsed(), peak().saturating_sub(before));
        assert!(outcome.len() < 1_000, "{name}: {outcome}");
        assert!(took < Duration::from_secs(3), "{name} took {took:?}: {outcome}");
        assert!(grown < 128 << 20, "{name} took {grown} bytes: {outcome}");
    }
}

/// What forms cost with a real vocabulary of 262,144 tokens.
#[test]
#[expect(clippy::print_stderr, reason = "the figures, or why there are none")]
fn gemmas_vocabulary_is_sorted_and_masked_in_time() {
    let Some(path) = std::env::var_os("HIVE_GEMMA") else {
        eprintln!("SKIPPED: HIVE_GEMMA names no file; scripts/get-gemma.sh fetches it");
        return;
    };
    let mut file = std::fs::File::open(path).unwrap();
    let tokenizer = Tokenizer::read(&crate::read_header(&mut file).unwrap().0).unwrap();
    let (before, started) = (peak(), Instant::now());
    let vocabulary = Vocabulary::new(&tokenizer, tokenizer.len()).unwrap();
    let (built, grown) = (started.elapsed(), peak().saturating_sub(before));
    eprintln!("vocabulary: {built:?}, {} MiB", grown >> 20);
    assert!(built < Duration::from_secs(10) && grown < 256 << 20);
    let form = Format::JsonSchema(schemas().remove(0));
    let started = Instant::now();
    let mut constraint = Constraint::new(&vocabulary, &form).unwrap();
    eprintln!("schema: {:?}", started.elapsed());
    let text = r#"{"name": "Ada L.", "age": 36, "kind": "cat", "id": "ID-007"}"#;
    let tokens = tokenizer.encode(text).unwrap();
    let (mut times, mut logits) = (Vec::new(), vec![0.0; vocabulary.tokens]);
    for &token in tokens.iter().skip(1) {
        logits.fill(0.0);
        let started = Instant::now();
        constraint.mask(&mut logits).unwrap();
        times.push(started.elapsed());
        assert!(logits[token as usize].is_finite(), "{:?}", tokenizer.text(token));
        constraint.accept(token).unwrap();
    }
    assert!(constraint.may_end());
    times.sort();
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    eprintln!("mask: mean {mean:?}, median {:?}, most {:?}", times[times.len() / 2], times.last());
    assert!(mean < Duration::from_millis(20));
    let started = Instant::now();
    let specials = tokenizer.specials();
    eprintln!("specials: {:?}, {}", started.elapsed(), specials.has("<start_of_turn>"));
    let templates = crate::chat::Templates::find("gemma3", &[], &[], &specials).unwrap();
    let messages = vec![hive_api::Message::new(hive_api::Role::User, "Hi <end_of_turn>")];
    let chat = hive_api::Chat { messages, ..hive_api::Chat::default() };
    let started = Instant::now();
    let text = templates.of(false).render(&chat, &specials, std::time::UNIX_EPOCH).unwrap();
    eprintln!("rendered: {:?}", started.elapsed());
    let tokens = tokenizer.encode_marked(&text).unwrap();
    assert_eq!(tokens.iter().filter(|&&id| id == 106).count(), 1, "{tokens:?}");
    assert_eq!(tokens[..2], [2, 105]);
}
