//! Templates that want the machine rather than a chat.

use std::time::{Duration, Instant, UNIX_EPOCH};

use hive_api::{Chat, Message, Role, TemplateSource};

use super::*;

fn run(source: &str) -> Result<String, EngineError> {
    let template = Template::parse(source, TemplateSource::File)?;
    let messages = vec![Message::new(Role::User, "hi"), Message::new(Role::User, "there")];
    let chat = Chat { messages, ..Chat::default() };
    template.render(&chat, &Specials::default(), UNIX_EPOCH)
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn cases() -> Vec<(&'static str, String)> {
    let doubling = |step: &str| {
        format!(
            "{{% set ns = namespace(a='xy', l=[1]) %}}{{% for i in range(60) %}}{{% set {step} %}}\
             {{% endfor %}}{{{{ ns.a }}}}{{{{ ns.l }}}}"
        )
    };
    let nested = |open: &str, close: &str, n: usize| {
        format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n))
    };
    vec![
        ("repeated text", "{{ 'x' * 1000000000 }}".to_owned()),
        ("folded when compiled", "{% if 'x' * 100000000 == 'y' %}{% endif %}".to_owned()),
        ("repeated list", "{{ ([1] * 100000000) | length }}".to_owned()),
        ("sums that double", doubling("ns.a = ns.a + ns.a")),
        ("joins that double", doubling("ns.a = ns.a ~ ns.a")),
        ("formats that double", doubling("ns.a = '%s%s' | format(ns.a, ns.a)")),
        ("methods that double", doubling("ns.a = '{}{}'.format(ns.a, ns.a)")),
        ("a width", "{{ '%1000000000d' | format(1) }}".to_owned()),
        ("a width in a method", "{{ '{:1000000000}'.format(1) }}".to_owned()),
        ("lists that double", doubling("ns.l = ns.l + ns.l")),
        ("lists that hold themselves twice", doubling("ns.l = [ns.l, ns.l]")),
        (
            "twins that are compared",
            "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}\
             {% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}\
             {{ ns.a == ns.b }}"
                .to_owned(),
        ),
        (
            "twins that are sorted",
            "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}\
             {% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ [ns.a, ns.a] | sort | unique }}"
                .to_owned(),
        ),
        ("a list as a key", "{% set a = [[1]] %}{{ {a: 1} }}".to_owned()),
        (
            "a deep list",
            "{% set ns = namespace(a=[]) %}{% for i in range(9000) %}{% set ns.a = [ns.a] %}\
             {% endfor %}{{ ns.a }}"
                .to_owned(),
        ),
        (
            "a deep list without a namespace",
            "{% macro m(a, n) %}{{ m([a], n) }}{% endmacro %}{{ m([], 1) }}".to_owned(),
        ),
        (
            "a namespace in itself",
            "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}".to_owned(),
        ),
        ("long ranges", "{% for i in range(1000000000) %}x{% endfor %}".to_owned()),
        (
            "loops in loops",
            "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}\
             {% endfor %}{% endfor %}{% endfor %}"
                .to_owned(),
        ),
        (
            "ranges again and again",
            "{% for i in range(9999) %}{% set a = range(9999) %}{% endfor %}".to_owned(),
        ),
        (
            "a text in a loop",
            format!("{{% for i in range(9999) %}}{}{{% endfor %}}", "x".repeat(200_000)),
        ),
        (
            "a text in a loop that is kept",
            format!(
                "{{% set a %}}{{% for i in range(9999) %}}{}{{% endfor %}}{{% endset %}}",
                "x".repeat(200_000)
            ),
        ),
        (
            "a search in a loop",
            format!(
                "{{% set a = '{}' %}}{{% for i in range(9999) %}}{{% if 'y' in a %}}{{% endif %}}\
                 {{% endfor %}}",
                "x".repeat(200_000)
            ),
        ),
        (
            "a character in a loop",
            format!(
                "{{% set a = '{}' %}}{{% for i in range(9999) %}}{{% set b = a[199999] %}}\
                 {{% endfor %}}",
                "x".repeat(200_000)
            ),
        ),
        (
            "slices of slices",
            "{% set ns = namespace(a=range(9000)) %}{% for i in range(9000) %}\
             {% set ns.a = ns.a[1:] %}{% endfor %}"
                .to_owned(),
        ),
        (
            "replacements that grow",
            "{% set ns = namespace(a='xx') %}{% for i in range(60) %}\
             {% set ns.a = ns.a | replace('x', 'xx') %}{% endfor %}"
                .to_owned(),
        ),
        (
            "methods that grow",
            "{% set ns = namespace(a='xx') %}{% for i in range(60) %}\
             {% set ns.a = ns.a.replace('x', 'xx') %}{% endfor %}"
                .to_owned(),
        ),
        (
            "joins that grow",
            "{% set ns = namespace(a='xx') %}{% for i in range(60) %}\
             {% set ns.a = ns.a.join([ns.a, ns.a]) %}{% endfor %}"
                .to_owned(),
        ),
        (
            "wide JSON",
            "{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = [ns.a] %}\
             {% endfor %}{{ (ns.a) | tojson(indent=1000000000) }}{{ 'x' * 99999999 }}"
                .to_owned(),
        ),
        (
            "JSON in JSON",
            "{% set ns = namespace(a='\"') %}{% for i in range(60) %}\
             {% set ns.a = ns.a | tojson %}{% endfor %}"
                .to_owned(),
        ),
        ("a macro without end", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned()),
        (
            "macros that double",
            "{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(40) }}".to_owned(),
        ),
        ("a recursive loop", "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned()),
        ("what was there before", "{% for i in [1] %}{{ loop.changed(i) }}{% endfor %}".to_owned()),
        ("parentheses", nested("(", ")", 60_000)),
        ("lists", nested("[", "]", 60_000)),
        ("signs", nested("-", "", 60_000)),
        ("nots", nested("not ", "", 50_000)),
        ("sums", nested("1+", "", 60_000)),
        ("fields", format!("{{{{ a{} }}}}", ".b".repeat(60_000))),
        ("filters", format!("{{{{ 1{} }}}}", "|abs".repeat(50_000))),
        ("conditions", "{% if 1 %}".repeat(20_000)),
        ("alternatives", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(19_000))),
        ("files", "{% include '/etc/passwd' %}".to_owned()),
        ("parents", "{% extends '/etc/passwd' %}".to_owned()),
        ("other templates", "{% import 'x' as x %}".to_owned()),
        ("what is in it", "{{ debug() }}".to_owned()),
        ("Python's ways out", "{{ ''.__class__.__mro__[1].__subclasses__() }}".to_owned()),
        ("unfinished", "{% if".to_owned()),
        ("long", "x".repeat(SOURCE + 1)),
        (
            "a long answer",
            format!("{{% for i in range(9) %}}{}{{% endfor %}}", "x".repeat(200_000)),
        ),
    ]
}

#[test]
fn whatever_a_template_wants_it_is_refused_soon_and_in_little_memory() {
    let mut slowest = (Duration::ZERO, "");
    for (name, source) in cases() {
        let before = peak();
        let started = Instant::now();
        let result = run(&source);
        let took = started.elapsed();
        // The system adds up what its processors count, and may find a little less than before.
        let grown = peak().saturating_sub(before);
        assert!(result.is_err(), "{name} was let through: {:?}", result.map(|text| text.len()));
        assert!(took < Duration::from_secs(1), "{name} took {took:?}");
        assert!(grown < 64 << 20, "{name} took {grown} bytes");
        let error = result.unwrap_err().to_string();
        assert!(error.len() < 1_000, "{name}: {error}");
        slowest = slowest.max((took, name));
    }
    assert!(slowest.0 < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn as_deep_as_it_may_be_it_fits_the_stack() {
    let alternatives = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(TAGS - 2));
    let fields = format!("{{{{ a{} }}}}", ".b".repeat(TAG_TOKENS / 2 - 4));
    let sums = format!("{{{{ {}1 }}}}", "1+".repeat(TAG_TOKENS / 2 - 4));
    let filters = format!("{{{{ 1{} }}}}", "|abs".repeat(TAG_TOKENS / 2 - 4));
    for source in [alternatives, fields, sums, filters] {
        let template = Template::parse(&source, TemplateSource::File).unwrap();
        let chat = Chat::default();
        // Some give nothing and some an error; all of them come back.
        let _ = template.render(&chat, &Specials::default(), UNIX_EPOCH);
    }
}

#[test]
fn an_honest_template_of_a_long_chat_is_let_through() {
    let source = "{% for m in messages %}{% if '</think>' in m.content %}\
                  {{ m.content.split('</think>')[-1].lstrip('\\n') | trim }}{% else %}\
                  {{ '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>\\n' }}{% endif %}\
                  {% if loop.index0 and messages[loop.index0 - 1].role == m.role %}!{% endif %}\
                  {% endfor %}";
    let template = Template::parse(source, TemplateSource::File).unwrap();
    for (turns, text) in [(2_000, 400), (20, 45_000), (10_000, 2)] {
        let content = format!("thought</think>{}", "word ".repeat(text / 5));
        let messages = vec![Message::new(Role::Assistant, content); turns];
        let chat = Chat { messages, ..Chat::default() };
        let text = template.render(&chat, &Specials::default(), UNIX_EPOCH);
        assert!(text.is_ok(), "{turns} turns of {text:?}");
    }
}
