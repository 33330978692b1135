//! Templates as models have them, in our own words, with what they must write.

use expect_test::expect;
use hive_api::{Message, Role};
use serde_json::json;

use super::tests::{chat, check, render, with_tools};
use super::*;

pub(super) const CHATML: &str = r"
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
pub(super) const QWEN: &str = r##"{%- if tools %}
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
