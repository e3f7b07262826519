//! Chat templates in the manners that are out there.

use std::sync::Arc;

use madrigal_engine::template::{ChatTemplate, SpecialTokens};

/// A turn a message, nothing else.
pub(crate) const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Names in the markup.
pub(crate) const NAMED: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role }}{% if 'name' in m %}{{ ' name=' + m.name }}{% endif %}\
    {{ '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant name=' + (agent or '') + '\n' }}{% endif %}";

/// Trims, and shows a message only if there is one.
pub(crate) const TRIMS: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content %}{{ m.content | trim }}{% else %}{{ '(nothing)' }}{% endif %}\
    {{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Takes reasoning out of what the assistant said, and writes an empty thought into its last message.
pub(crate) const THINKS: &str = "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}\
    {{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.index0 >= messages | length - 2 %}{{ '<think>\n\n</think>\n\n' }}{% endif %}\
    {{ c + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Headers, an empty line, trimmed text, and BOS before all of it.
pub(crate) const HEADERS: &str = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// Instructions inside of the first turn, turns in brackets, BOS and EOS around an exchange.
pub(crate) const BRACKETS: &str = "{% if messages[0].role == 'system' %}{% set turns = messages[1:] %}{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}\
    {% else %}{% set turns = messages %}{% set system = '' %}{% endif %}{% for m in turns %}\
    {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}\
    {% if m.role == 'user' %}{{ bos_token + '[INST] ' + ((system if loop.first else '') + m.content).strip() + ' [/INST]' }}\
    {% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

/// Refuses instructions and anything but taking turns.
pub(crate) const STRICT: &str = "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}\
    {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}\
    {{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

/// A template with special tokens of its own.
pub(crate) fn template(source: &str) -> Arc<ChatTemplate> {
    with_special(source, "<s>", "</s>")
}

pub(crate) fn with_special(source: &str, bos: &str, eos: &str) -> Arc<ChatTemplate> {
    let special = SpecialTokens { bos: Some(bos.to_owned()), eos: Some(eos.to_owned()), ..SpecialTokens::default() };
    Arc::new(ChatTemplate::from_source(source, special).unwrap())
}
