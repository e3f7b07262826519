//! Chat templates against transformers' renderings, the limits that templates run under, and the `plain` template.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod fixtures;
#[path = "templates/harmony.rs"]
mod harmony;

use std::path::Path;

use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest, SpecialTokens, TemplateError};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn noon() -> CivilDateTime {
    "2025-08-05T12:00:00".parse().unwrap()
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::from_source(source, SpecialTokens::default()).unwrap_or_else(|error| panic!("failed to {error}"))
}

/// Renders with variables and without messages.
fn render_with(source: &str, vars: &Value) -> Result<String, TemplateError> {
    let request = RenderRequest {
        messages: &[],
        tools: None,
        vars: vars.as_object().unwrap(),
        add_generation_prompt: false,
        now: noon(),
    };
    ChatTemplate::from_source(source, SpecialTokens::default())?.render(&request)
}

fn messages(pairs: &[(&str, &str)]) -> Vec<Value> {
    pairs.iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn render_messages(
    template: &ChatTemplate,
    messages: &[Value],
    vars: &Map<String, Value>,
) -> Result<String, TemplateError> {
    template.render(&RenderRequest { messages, tools: None, vars, add_generation_prompt: true, now: noon() })
}

fn check_expected(test: &str, name: &str) {
    let Some(folder) = fixtures::shared(test, &format!("templates/{name}")) else {
        return;
    };
    let expected = fixtures::json(&folder.join("expected.json"));
    let special = |role: &str| expected["special_tokens"][role].as_str().map(str::to_owned);
    let special = SpecialTokens { bos: special("bos_token"), eos: special("eos_token"), ..SpecialTokens::default() };
    let source = std::fs::read_to_string(folder.join("chat_template.jinja")).unwrap();
    let template = ChatTemplate::from_source(&source, special).unwrap();
    let opened = ChatTemplate::open(&folder).unwrap();
    assert_eq!(opened.source(), source);
    for case in expected["cases"].as_array().unwrap() {
        let request = RenderRequest {
            messages: case["messages"].as_array().unwrap(),
            tools: Some(&case["tools"]).filter(|tools| !tools.is_null()),
            vars: case["kwargs"].as_object().unwrap(),
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            now: noon(),
        };
        assert_eq!(template.render(&request).unwrap(), case["expected"].as_str().unwrap(), "{name}: {}", case["name"]);
    }
}

#[test]
fn chatml_renders_as_in_transformers() {
    check_expected("chatml_renders_as_in_transformers", "chatml");
}

#[test]
fn qwen_renders_as_in_transformers() {
    check_expected("qwen_renders_as_in_transformers", "qwen2.5");
}

#[test]
fn the_template_is_found_where_models_keep_it() {
    let test = "the_template_is_found_where_models_keep_it";
    let Some(folder) = fixtures::shared(test, "tokenizers/qwen2.5") else {
        return;
    };
    let Some(jinja) = fixtures::shared(test, "templates/qwen2.5/chat_template.jinja") else {
        return;
    };
    let opened = ChatTemplate::open(&folder).unwrap();
    assert_eq!(opened.source(), std::fs::read_to_string(jinja).unwrap());
    assert!(!opened.is_plain());

    let parity = fixtures::testdata("parity/qwen3");
    for path in [parity.clone(), parity.join("model-f16.gguf")] {
        assert!(ChatTemplate::open(&path).unwrap().is_plain());
    }
}

fn folder_with(config: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn named_templates_are_chosen_by_need() {
    let named = json!([{"name": "default", "template": "D{{ eos_token }}"}, {"name": "tool_use", "template": "T"}]);
    let folder = folder_with(&json!({"chat_template": named, "eos_token": {"content": "<e>"}}));
    let template = ChatTemplate::open(folder.path()).unwrap();
    let mut request =
        RenderRequest { messages: &[], tools: None, vars: &Map::new(), add_generation_prompt: false, now: noon() };
    assert_eq!(template.render(&request).unwrap(), "D<e>");
    let tools = json!([{}]);
    request.tools = Some(&tools);
    assert_eq!(template.render(&request).unwrap(), "T");

    std::fs::write(folder.path().join("chat_template.jinja"), "J").unwrap();
    assert_eq!(ChatTemplate::open(folder.path()).unwrap().source(), "J");

    for (config, expected) in [
        (json!({"chat_template": [{"name": "rag", "template": ""}]}), "no entry named `default`"),
        (json!({"chat_template": [{"name": "default"}]}), "no template"),
        (json!({"chat_template": 7}), "no text and no list"),
        (json!({"chat_template": "{% if %}"}), "line 1"),
    ] {
        let error = ChatTemplate::open(folder_with(&config).path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Golden values: Jinja2 3.1 in an `ImmutableSandboxedEnvironment` with transformers' settings, `json.dumps` and `str`.
#[test]
fn expressions_mean_what_they_mean_in_python() {
    let vars = json!({
        "s": "  Ab c\t", "n": 3, "f": 1.5, "big": 1e16, "l": [1, "a", null, true, 2.0], "none": null,
        "m": {"b": 1, "a": {"x": [], "y": {}}, "é": "<&'\"\\\n\u{1}"}
    });
    let cases = [
        ("{{ true }} {{ none }} {{ l }}", "True None [1, 'a', None, True, 2.0]"),
        ("{{ l | tojson }}", r#"[1, "a", null, true, 2.0]"#),
        ("{{ m | tojson }}", "{\"b\": 1, \"a\": {\"x\": [], \"y\": {}}, \"é\": \"<&'\\\"\\\\\\n\\u0001\"}"),
        ("{{ m.a | tojson(indent=2) }}", "{\n  \"x\": [],\n  \"y\": {}\n}"),
        ("{{ [1, [2]] | tojson(indent=4) }}", "[\n    1,\n    [\n        2\n    ]\n]"),
        (
            "{{ m | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
            "{\"a\":{\"x\":[],\"y\":{}},\"b\":1,\"\\u00e9\":\"<&'\\\"\\\\\\n\\u0001\"}",
        ),
        ("{{ big | tojson }} {{ f | tojson }} {{ 'ü😀' | tojson }}", "1e+16 1.5 \"ü😀\""),
        (
            "{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ s | trim }}|{{ 'xaxx'.strip('x') }}",
            "Ab c|Ab c\t|  Ab c|Ab c|a",
        ),
        (
            "{{ s.split() }} {{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1)[-1] }} {{ 'a,b,c'.rsplit(',', 1) }}",
            "['Ab', 'c'] ['a', 'b', 'c'] b,c ['a,b', 'c']",
        ),
        (
            "{{ s.upper() }}{{ s.lower().strip().title() }} {{ 'x'.startswith('x') }} {{ 'xy'.endswith(('z', 'y')) }}",
            "  AB C\tAb C True True",
        ),
        ("{{ 'aXbX'.replace('X', '--', 1) }} {{ 'abc'.removeprefix('a') }} {{ '-'.join(['a', 'b']) }}", "a--bX bc a-b"),
        (
            "{{ m.get('zz', 'd') }} {{ m.get('b') }} {% for k, v in m.a.items() %}{{ k }}{% endfor %} {{ m.keys() | list }}",
            "d 1 xy ['b', 'a', 'é']",
        ),
        (
            "{{ n + 1 }} {{ n * f }} {{ 'ab' * 2 }} {{ 'a' ~ n ~ none }} {{ [1] + [2] }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 5 }}",
            "4 4.5 abab a3None [1, 2] 3 3 32",
        ),
        (
            "{% set ns = namespace(x=0) %}{% for i in range(5) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
            "5",
        ),
        (
            "{{ l[1:3] }} {{ l[::-1][0] }} {{ s[2:4] }} {{ l | length }} {{ 'b' in m }} {{ l[-1] }}",
            "['a', None] 2.0 Ab 5 True 2.0",
        ),
        (
            "{% macro f(a, b='z') %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(2, b='y') }}{% set x %}in{{ n }}{% endset %}{{ x | upper }}",
            "<1z><2y>IN3",
        ),
        (
            "{{ zz is defined }} {{ zz }} {{ none is none }} {{ m is mapping }} {{ s is string }} {{ zz | default('d') }}",
            "False  True True True d",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "05 Aug 2025"),
        ("{% generation %}a{% endgeneration %}\nb", "ab"),
        ("  {% if true %}  \n x\n  {% endif %}\ny\n", "  \n x\ny"),
        ("{%- if true -%}  a\n{%- endif %}\n\n  b {#- c #}", "a\n  b"),
        (
            "{{ l | map('string') | join('+') }} {{ [{'a': 1}, {'a': 2}] | map(attribute='a') | list }} {{ [3, 1] | sort | first }}",
            "1+a+None+True+2.0 [1, 2] 1",
        ),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{% for a in [[1, [2]]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}", "12"),
        (
            "{% for i in [1, 2, 3] %}{{ loop.index0 }}{{ loop.last }}{{ loop.previtem }}{% endfor %}",
            "0False1False12True2",
        ),
        (
            "{% filter upper %}a{{ n }}b{% endfilter %}{% call f(1) %}{% endcall %}{% macro f(x) %}{{ x }}{% endmacro %}",
            "?",
        ),
    ];
    for (source, expected) in cases {
        if expected == "?" {
            // A macro that is called before it is declared: an error, as in Jinja.
            assert!(render_with(source, &vars).is_err());
            continue;
        }
        assert_eq!(
            render_with(source, &vars).unwrap_or_else(|error| panic!("{source}: {error}")),
            expected,
            "{source}"
        );
    }
}

#[test]
fn errors_name_the_line_and_refusals_are_quoted() {
    let syntax = |source: &str| match ChatTemplate::from_source(source, SpecialTokens::default()) {
        Err(TemplateError::Syntax { line, problem }) => (line, problem),
        other => panic!("{source}: {other:?}"),
    };
    assert_eq!(syntax("a\nb{% if %}").0, 2);
    assert_eq!(syntax("{% for x in y %}\n").0, 1);
    assert_eq!(syntax("a\n\n{{ 'x }}").0, 3);
    assert!(syntax("{% include 'x' %}").1.contains("include"));

    match render_with("a\n{{ raise_exception('roles must ' ~ 'alternate') }}", &json!({})) {
        Err(TemplateError::Refused { message }) => assert_eq!(message, "roles must alternate"),
        other => panic!("{other:?}"),
    }
    for (source, line) in [
        ("\n{{ 'a' + 1 }}", 2),
        ("{{ zz.a.b }}", 1),
        ("\n\n{{ 'a'.nope() }}", 3),
        ("{{ 1 | nope }}", 1),
        ("{{ strftime_now('%Q') }}", 1),
    ] {
        match render_with(source, &json!({})) {
            Err(TemplateError::Render { line: at, .. }) => assert_eq!(at, line, "{source}"),
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn templates_without_an_end_are_stopped() {
    let doubling =
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = OP %}{% endfor %}{{ ns.s | length }}";
    let mut sources: Vec<String> = [
        "ns.s ~ ns.s",
        "ns.s + ns.s",
        "ns.s * 9",
        "[ns.s, ns.s] | join",
        "ns.s.replace('x', 'xxx')",
        "ns.s | replace('x', 'xxx')",
        "'%s%s' | format(ns.s, ns.s)",
        "[ns.s, ns.s] | string",
        "[ns.s, ns.s] | tojson",
    ]
    .iter()
    .map(|growth| doubling.replace("OP", growth))
    .collect();
    sources.extend([
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}some text{% endfor %}{% endfor %}".to_owned(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}".to_owned(),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}".to_owned(),
        "{% set s = 'x' * 16000000 %}{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = ns.l + [s | upper] %}{% endfor %}".to_owned(),
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set x %}{% for j in range(9999) %}some more text{% endfor %}{% endset %}{% set ns.l = ns.l + [x] %}{% endfor %}".to_owned(),
        format!("{{{{ {} }}}}", vec!["'x' * 9999999"; 200].join(" ~ ")),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", "|a".repeat(100_000)),
        format!("{{{{ {}x }}}}", "not ".repeat(100_000)),
        format!("{}{}", "{% if x %}".repeat(50_000), "{% endif %}".repeat(50_000)),
        format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(20_000)),
        "x".repeat(600_000),
        "{{ 'x' * 99999999999 }}".to_owned(),
        "{{ ('x' * 1000) | indent(99999999999) }}".to_owned(),
        "{{ '{:>99999999999}'.format('x') }}".to_owned(),
    ]);
    for source in sources {
        let shown: String = source.chars().take(160).collect();
        match render_with(&source, &json!({})) {
            Err(TemplateError::Limit { .. } | TemplateError::Render { .. } | TemplateError::Syntax { .. }) => {}
            other => panic!("{shown}: {:?}", other.map(|text| text.len())),
        }
    }
}

#[test]
fn long_conversations_are_within_the_limits() {
    let source = "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{% endfor %}";
    let content = "word ".repeat(200);
    let many: Vec<Value> = (0..5000).map(|_| json!({"role": "user", "content": content})).collect();
    let text = render_messages(&template(source), &many, &Map::new()).unwrap();
    assert_eq!(text.len(), 5000 * (6 + 999));
}

#[test]
fn the_plain_template_is_names_and_text() {
    let plain = ChatTemplate::plain();
    assert!(plain.is_plain());
    let mut table = messages(&[("system", "Be brief.\n"), ("user", " Hello.\n"), ("assistant", "Yes?")]);
    table.push(json!({"role": "user", "name": "Ada", "content": "Two\nlines."}));
    let vars = json!({"agent": "Grace"});
    let text = render_messages(&plain, &table, vars.as_object().unwrap()).unwrap();
    assert_eq!(text, "Be brief.\n\nUser: Hello.\nAssistant: Yes?\nAda: Two\nlines.\nGrace:");
    let text = render_messages(&plain, &table[1..2], &Map::new()).unwrap();
    assert_eq!(text, "User: Hello.\nAssistant:");
    assert!(plain.accepts_system_role());
    assert!(!plain.needs_alternation());
    assert_eq!(plain.digest(), ChatTemplate::plain().digest());
    assert_eq!(plain.digest().len(), 64);
    assert_ne!(plain.digest(), template(plain.source()).digest().get(..10).unwrap());
}

#[test]
fn probes_tell_what_a_template_takes() {
    const STRICT: &str = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
        {% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}\
        {{ m.content }}{% endfor %}";
    const DROPS_SYSTEM: &str =
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}";
    const LAST_ONLY: &str = "{{ messages[-1].content }}";
    const ALL: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}";
    for (source, system, alternation, user_first) in [
        (STRICT, false, true, true),
        (DROPS_SYSTEM, false, false, false),
        (LAST_ONLY, false, true, true),
        (ALL, true, false, false),
    ] {
        let template = template(source);
        assert_eq!(
            (template.accepts_system_role(), template.needs_alternation(), template.needs_user_first()),
            (system, alternation, user_first),
            "{source}"
        );
    }
}

#[test]
fn variables_reach_the_template_and_replace_special_tokens() {
    let special = SpecialTokens { bos: Some("<s>".to_owned()), ..SpecialTokens::default() };
    let template = ChatTemplate::from_source(
        "{{ bos_token }}{{ eos_token is defined }}{{ enable_thinking }}{{ tools is none }}",
        special,
    )
    .unwrap();
    let vars = json!({"enable_thinking": false});
    assert_eq!(render_messages(&template, &[], vars.as_object().unwrap()).unwrap(), "<s>FalseFalseTrue");
    let vars = json!({"enable_thinking": true, "bos_token": "B"});
    assert_eq!(render_messages(&template, &[], vars.as_object().unwrap()).unwrap(), "BFalseTrueTrue");
}

#[test]
fn missing_files_are_errors() {
    assert!(ChatTemplate::open(Path::new("/nonexistent/model.gguf")).is_err());
    let error = ChatTemplate::open(Path::new("/nonexistent/chat.jinja")).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the source is, reading and rendering it ends without a panic.
    #[test]
    fn any_source_is_a_template_or_an_error(pieces in proptest::collection::vec(
        proptest::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-", "for ", "x", " in ", "messages", "endfor", "if ", "endif", "set ",
            "=", "'", "\"", "|", "tojson", ".", "[", "]", "(", ")", "~", "+", "*", "9", " ", "\n", "é", "macro ", "raw",
            "endraw", "generation", "endgeneration", "namespace", "loop", "caller", "not ", "\\", ":", ",",
        ]),
        0..40,
    )) {
        let _ = render_with(&pieces.concat(), &json!({"x": [1, {"a": "b"}]}));
    }
}
