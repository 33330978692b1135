//! Templates for models that come without one: the forms that their families were tuned with.
//!
//! A form is taken only if the vocabulary has its tokens. A base model has them, too, and was never
//! taught to answer; [`TemplateSource::Architecture`](hive_api::TemplateSource) says so.

/// A template and the texts that end an answer in it, where no token does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builtin {
    pub(crate) source: &'static str,
    pub(crate) stops: &'static [&'static str],
}

const GEMMA: Builtin = Builtin {
    source: "{{ bos_token }}{% set ns = namespace(before='') %}\
{% for m in messages %}\
{% if m.role == 'system' %}{% set ns.before = ns.before + m.content + '\\n\\n' %}\
{% else %}{% if m.role == 'assistant' %}{{ '<start_of_turn>model\\n' }}\
{% else %}{{ '<start_of_turn>user\\n' + ns.before }}{% set ns.before = '' %}{% endif %}\
{{ m.content | trim }}{{ '<end_of_turn>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    stops: &["<end_of_turn>"],
};

const LLAMA3: Builtin = Builtin {
    source: "{{ bos_token }}{% for m in messages %}\
{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}{{ m.content | trim }}\
{{ '<|eot_id|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    stops: &["<|eot_id|>"],
};

const CHATML: Builtin = Builtin {
    source: "{% for m in messages %}\
{{ '<|im_start|>' + m.role + '\\n' }}{{ m.content }}{{ '<|im_end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    stops: &["<|im_end|>"],
};

const MISTRAL: Builtin = Builtin {
    source: "{{ bos_token }}{% set ns = namespace(before='') %}\
{% for m in messages %}\
{% if m.role == 'system' %}{% set ns.before = ns.before + m.content + '\\n\\n' %}\
{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + eos_token }}\
{% else %}{{ '[INST] ' + ns.before }}{% set ns.before = '' %}{{ m.content | trim + ' [/INST]' }}\
{% endif %}{% endfor %}",
    stops: &[],
};

const PLAIN: Builtin = Builtin {
    source: "{{ bos_token }}{% for m in messages %}\
{% if m.role == 'assistant' %}{{ 'Assistant: ' }}\
{% elif m.role == 'system' %}{{ '' }}\
{% elif m.role == 'tool' %}{{ 'Tool: ' }}\
{% else %}{{ 'User: ' }}{% endif %}\
{{ m.content | trim }}{{ '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    stops: &["\nUser:"],
};

/// The form of an architecture whose tokens the vocabulary has; plain names if there is none.
pub(crate) fn builtin(architecture: &str, has_special: impl Fn(&str) -> bool) -> Builtin {
    let has = |texts: &[&str]| texts.iter().all(|text| has_special(text));
    let gemma = has(&["<start_of_turn>", "<end_of_turn>"]);
    let llama3 = has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]);
    let chatml = has(&["<|im_start|>", "<|im_end|>"]);
    let mistral = has(&["[INST]", "[/INST]"]);
    match architecture {
        name if name.starts_with("gemma") && gemma => GEMMA,
        name if name.starts_with("qwen") && chatml => CHATML,
        // Files of Mistral's models say `llama`, as others do. The tokens tell them apart.
        _ if llama3 => LLAMA3,
        _ if chatml => CHATML,
        _ if gemma => GEMMA,
        _ if mistral || architecture.starts_with("mi") && architecture.contains("stral") => MISTRAL,
        _ => PLAIN,
    }
}
