//! Templates as models have them, in our own words, with what they must write.

use std::time::{Duration, UNIX_EPOCH};

use expect_test::{Expect, expect};
use hive_api::{Chat, Message, Role, TemplateSource, Tool, ToolCall, ToolChoice};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::{MARKER, builtin};
use crate::testing::chat_tokenizer;

fn specials() -> Specials {
    let control = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "[INST]", "[/INST]"];
    let control = control.map(str::to_owned).to_vec();
    let added = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<h1>"];
    Specials::new("<s>".into(), "</s>".into(), control, added.map(str::to_owned).to_vec())
}

fn chat() -> Chat {
    let messages = vec![
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, " Hi "),
        Message::new(Role::Assistant, "Hello."),
        Message::new(Role::User, "Bye"),
    ];
    Chat { messages, ..Chat::default() }
}

fn with_tools() -> Chat {
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

fn render(source: &str, chat: &Chat) -> Result<String, EngineError> {
    let now = UNIX_EPOCH + Duration::from_secs(1_763_726_401);
    Template::parse(source, TemplateSource::File)?.render(chat, &specials(), now)
}

#[track_caller]
fn check(source: &str, chat: &Chat, expected: Expect) {
    expected.assert_eq(&render(source, chat).unwrap());
}

const CHATML: &str = r"
{%- for message in messages %}
    {%- if loop.first and messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
";

#[test]
fn chatml() {
    check(
        CHATML,
        &chat(),
        expect![[r"
        <|im_start|>system
        Be brief.<|im_end|>
        <|im_start|>user
         Hi <|im_end|>
        <|im_start|>assistant
        Hello.<|im_end|>
        <|im_start|>user
        Bye<|im_end|>
        <|im_start|>assistant
    "]],
    );
}

/// In the manner of Llama 3.1: dates, tools in the first user turn, JSON over several lines.
const LLAMA: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday: " + date_string + "\n" + system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none %}
    {%- set first = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one call at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or (message.content is iterable and message.content is not string) %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

#[test]
fn llama_3_with_tools_and_a_date() {
    check(
        LLAMA,
        &with_tools(),
        expect![[r#"
        <s><|start_header_id|>system<|end_header_id|>

        Today: 21 Nov 2025
        <|eot_id|><|start_header_id|>user<|end_header_id|>

        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Says <b>how</b> it's",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {
                            "type": "string"
                        }
                    }
                }
            }
        }

        Weather?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

        {"name": "weather", "parameters": {"city": "Köln", "days": [1, 2]}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>

        rain<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    "#]],
    );
}

/// In the manner of Qwen 3: thoughts of earlier turns are left out, found by walking backwards.
const QWEN: &str = r##"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\n<tool_call>\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
            {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' }}{{- content }}{{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"##;

#[test]
fn qwen_3_with_thoughts_and_tools() {
    let mut chat = with_tools();
    chat.messages.insert(0, Message::new(Role::User, "Hm?"));
    chat.messages.insert(1, Message::new(Role::Assistant, "<think>\nlong\n</think>\n\nYes."));
    chat.variables.insert("enable_thinking".into(), json!(false));
    check(
        QWEN,
        &chat,
        expect![[r#"
        <|im_start|>system
        # Tools

        <tools>
        {"type": "function", "function": {"name": "weather", "description": "Says <b>how</b> it's", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
        </tools><|im_end|>
        <|im_start|>user
        Hm?<|im_end|>
        <|im_start|>assistant
        Yes.<|im_end|>
        <|im_start|>user
        Weather?<|im_end|>
        <|im_start|>assistant
        <think>

        </think>


        <tool_call>
        {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2]}}
        </tool_call><|im_end|>
        <|im_start|>user
        <tool_response>
        rain
        </tool_response><|im_end|>
        <|im_start|>assistant
        <think>

        </think>

    "#]],
    );
}

/// In the manner of Mistral: strict turns, lists that are filtered, ids of nine characters.
const MISTRAL: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}
            {%- endfor %}
            {{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be nine characters!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
        {{- "]" + eos_token }}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Roles must alternate, not " + message.role) }}
    {%- endif %}
{%- endfor %}
"#;

#[test]
fn mistral_with_and_without_tools() {
    check(
        MISTRAL,
        &chat(),
        expect![[r"
        <s>[INST]  Hi [/INST] Hello.</s>[INST] Be brief.

        Bye[/INST]"]],
    );
    check(
        MISTRAL,
        &with_tools(),
        expect![[
            r#"<s>[AVAILABLE_TOOLS] [{"type": "function", "function": {"name": "weather", "description": "Says <b>how</b> it's", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}][/AVAILABLE_TOOLS][INST] Weather?[/INST][TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Köln", "days": [1, 2]}, "id": "abcdefghi"}]</s>[TOOL_RESULTS] {"content": rain, "call_id": "abcdefghi"}[/TOOL_RESULTS]"#
        ]],
    );
}

#[test]
fn a_template_may_refuse_in_its_own_words() {
    let mut chat = chat();
    chat.messages.insert(2, Message::new(Role::System, "again"));
    let error = render(MISTRAL, &chat).unwrap_err();
    assert!(matches!(error, EngineError::Request { .. }), "{error:?}");
    assert!(error.to_string().contains("Roles must alternate, not system"), "{error}");
}

/// In the manner of Gemma 3, with the system's words in the first turn and turns that alternate.
const GEMMA: &str = r"{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate') }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = 'model' -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else '') }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- else -%}
        {{ raise_exception('Invalid content type') }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
";

#[test]
fn gemma_3() {
    check(
        GEMMA,
        &chat(),
        expect![[r"
        <s><start_of_turn>user
        Be brief.

        Hi<end_of_turn>
        <start_of_turn>model
        Hello.<end_of_turn>
        <start_of_turn>user
        Bye<end_of_turn>
        <start_of_turn>model
    "]],
    );
}

/// In the manner of DeepSeek: macros, namespaces that gather text, Python's conditional.
const DEEPSEEK: &str = r"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, system_prompt='', is_first_sp=true) -%}
{%- macro turn(name, text='') -%}{{ '<' ~ name ~ '>' ~ text }}{%- endmacro -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- if ns.is_first_sp -%}
            {%- set ns.system_prompt = ns.system_prompt + message['content'] -%}{%- set ns.is_first_sp = false -%}
        {%- else -%}
            {%- set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] -%}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages -%}
    {% generation %}
    {%- if message['role'] == 'user' -%}{{ turn('User', message['content']) }}
    {%- elif message['role'] == 'assistant' -%}
        {%- set content = message['content'] -%}
        {%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1] -%}{%- endif -%}
        {{ turn('Assistant', content) }}{{ eos_token }}
    {%- else -%}{%- continue -%}
    {%- endif -%}
    {% endgeneration %}
{%- endfor -%}
{{ turn('Assistant') + ('<think>\n' if thinking | default(true) else '') if add_generation_prompt }}";

#[test]
fn deepseek() {
    check(
        DEEPSEEK,
        &chat(),
        expect![[r"
        <s>Be brief.<User> Hi <Assistant>Hello.</s><User>Bye<Assistant><think>
    "]],
    );
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
