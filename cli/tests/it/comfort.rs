//! Commands about the node and the program: what they print, and what they ask of a node.

use hive_api::{Format, Prompt, Role};
use serde_json::{Value, json};

use crate::fake::{BASE, OFFERED};
use crate::{User, keys};

#[test]
fn a_prompt_is_a_turn_for_a_model_with_a_template_and_text_for_a_base_model() {
    let user = User::new();
    let served = user.fake();
    assert_eq!(user.run(&["run", "bee", "hello"]).ok(), "[1] you said HELLO\n");
    assert_eq!(served.fake.last().max_tokens, None);
    assert_eq!(user.run(&["run", BASE, "once"]).ok(), " and so on\n");
    assert_eq!(served.fake.last().max_tokens, Some(256));
    assert_eq!(user.run(&["run", "bee", "once", "--raw"]).ok(), " and so on\n");
    assert_eq!(user.run(&["run", BASE, "hello", "--chat"]).ok(), "[1] you said HELLO\n");
    assert_eq!(served.fake.last().max_tokens, Some(256), "a base model does not end by itself");
    let said = user.run(&["run", BASE, "hello", "--system", "You are a bee."]);
    assert_eq!(said.ok(), "[2] you said HELLO\n");

    let ended = user.run(&["--json", "run", "bee", "hello"]);
    let events: Vec<Value> =
        ended.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["loaded", "text", "done"], "each once, however often it was asked");
}

/// What a model is shows only when its header has come: until then its prompt is text. The node has
/// one place, and forgets a fetch that nobody follows.
#[test]
fn a_prompt_that_turns_out_to_be_a_turn_is_sent_again_while_the_model_arrives() {
    let user = User::new();
    let served = user.fake();
    assert_eq!(user.run(&["run", OFFERED, "hello"]).ok(), "[1] you said HELLO\n");
    assert!(matches!(served.fake.last().prompt, Prompt::Chat(_)));
}

/// Whoever offers a model under the name of the user's file would have his answer for it.
#[test]
fn a_file_is_taken_before_what_others_offer_under_its_name() {
    let user = User::new();
    let served = user.fake();
    let file = user.file(OFFERED, b"x");
    user.run(&["run", OFFERED, "once", "--raw"]).ok();
    assert_eq!(served.fake.last().model, file);
    user.run(&["embed", OFFERED, "one"]).ok();
    assert_eq!(served.fake.embedded.lock().unwrap().pop().unwrap().model, file);
    user.file("bee", b"x");
    user.run(&["run", "bee", "once", "--raw"]).ok();
    assert_eq!(served.fake.last().model, "bee", "what is in the store comes first");
}

#[test]
fn flags_of_run_reach_the_node() {
    let user = User::new();
    let served = user.fake();
    let template = user.file("t.jinja", b"{{ messages }}");
    let schema = user.file("s.json", b"{\"type\":\"object\"}");
    user.run(&[
        "--json",
        "run",
        "bee",
        "hello",
        "--template",
        &template,
        "--min-p",
        "0.1",
        "--repetition-penalty",
        "1.1",
        "--presence-penalty",
        "-1",
        "--frequency-penalty",
        "0.5",
        "--logit-bias",
        "7=-100",
        "--logit-bias",
        "9=1.5",
        "--logprobs",
        "3",
        "--format",
        &schema,
        "--keep-alive",
        "2m",
        "--stop",
        "END",
        "--max-tokens",
        "9",
        "--seed",
        "5",
    ])
    .ok();
    let asked = served.fake.last();
    let sampling = &asked.sampling;
    assert_eq!((sampling.min_p, sampling.repetition_penalty), (Some(0.1), Some(1.1)));
    assert!(sampling.presence_penalty < -0.99 && sampling.frequency_penalty > 0.49);
    assert_eq!(sampling.logit_bias, [(7, -100.0), (9, 1.5)].into());
    assert_eq!(
        (asked.logprobs, asked.keep_alive, asked.max_tokens),
        (Some(3), Some(120.0), Some(9))
    );
    assert_eq!(asked.format, Some(Format::JsonSchema(json!({ "type": "object" }))));
    assert_eq!((asked.stop, sampling.seed), (vec!["END".to_owned()], 5));
    let Prompt::Chat(chat) = asked.prompt else { panic!("a template makes a chat") };
    assert_eq!(chat.template.as_deref(), Some("{{ messages }}"));
    assert_eq!(chat.messages[0].role, Role::User);

    user.run(&["run", "bee", "x", "--format", "json", "--keep-alive", "forever"]).ok();
    assert_eq!(served.fake.last().format, Some(Format::JsonObject));
    assert_eq!(served.fake.last().keep_alive, Some(-1.0));
}

#[test]
fn filters_of_a_search_reach_the_node() {
    let user = User::new();
    let served = user.fake();
    let args = ["search", "bee", "--refresh", "--kind", "model", "--max-size", "4GiB", "--fits"];
    user.run(&args).ok();
    let asked = served.fake.searched.lock().unwrap().pop().unwrap();
    assert_eq!((asked.text.as_str(), asked.kind.as_deref()), ("bee", Some("model")));
    assert_eq!((asked.max_size, asked.fits, asked.refresh), (Some(4 << 30), true, true));
}

#[test]
fn vectors_are_lines_in_the_order_of_their_texts() {
    let user = User::new();
    let _served = user.fake();
    let ended = user.run(&["embed", "bee", "one", "two"]);
    let lines: Vec<Value> =
        ended.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(keys(&lines[1]), ["embedding", "index"]);
    assert_eq!(lines[1]["index"], 1);
}

#[test]
fn loaded_models_are_listed_and_without_a_node_there_are_none() {
    let user = User::new();
    assert_eq!(user.json(&["--json", "ps"]), json!([]));
    assert!(user.run(&["ps", "--unload", "x"]).failed(2).contains("hive join"));
    let _served = user.fake();
    let listed = user.json(&["--json", "ps"]);
    assert_eq!((&listed[0]["name"], &listed[0]["pid"]), (&json!("bee"), &json!(7)));
    assert!(user.run(&["ps"]).ok().contains("1:00"));
}

#[test]
fn newer_versions_of_peers_are_told_and_nothing_is_asked_of_anybody_else() {
    let user = User::new();
    let alone = user.json(&["--json", "update-check"]);
    assert_eq!((&alone["peers"], &alone["newer"]), (&json!(0), &json!(0)));
    let _served = user.fake();
    let told = user.json(&["--json", "update-check"]);
    assert_eq!((&told["newest"], &told["newer"]), (&json!("900.0.0"), &json!(1)));
    assert!(user.run(&["update-check"]).ok().contains("That is what they say"));
}

#[test]
fn every_command_has_a_manual_page() {
    let user = User::new();
    let dir = user.dir.path().join("man1");
    user.run(&["man", dir.to_str().unwrap()]).ok();
    for page in ["hive.1", "hive-run.1", "hive-config-set.1", "hive-service-install.1"] {
        let text = std::fs::read_to_string(dir.join(page)).unwrap();
        let name = page.trim_end_matches(".1").replace('-', "\\-");
        assert!(text.contains(&name), "{page}: {text}");
        assert!(text.contains("OPTIONS"), "{page}");
    }
    assert!(user.run(&["man", "--stdout"]).ok().contains(".TH hive 1"));
    assert!(!user.home().exists(), "nothing was begun");
}

#[test]
fn a_service_is_printed_for_any_system_and_not_installed() {
    let user = User::new();
    for (system, told) in
        [("systemd", "[Service]"), ("launchd", "<plist"), ("windows", "<LogonTrigger>")]
    {
        let ended = user.run(&["service", "install", "--print", "--for", system]);
        assert!(ended.ok().contains(told), "{system}: {ended:?}");
        assert!(ended.stdout.contains(user.home().to_str().unwrap()), "{system}");
    }
    let status = user.json(&["--json", "service", "status"]);
    assert_eq!((&status["installed"], &status["runs"]), (&json!(false), &json!(false)));
    assert_eq!(user.json(&["--json", "service", "uninstall"])["installed"], false);
}
