//! The harmony format against the golden prompts of openai/harmony. The conversations are those of its own test suite
//! (`tests/test_harmony.py`), written as messages and variables of a chat template.
//!
//! `test_simple_reasoning_response` and `test_simple_tool_call` hold token ids of a vocabulary that is not here; what
//! they prove is proven on text in the engine's tests of `thoughts`.

use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest};
use serde_json::{Value, json};

use crate::fixtures;

/// A golden prompt and what makes it.
struct Case {
    golden: &'static str,
    messages: Value,
    tools: Value,
    vars: Value,
    /// Whether it ends with what makes the model answer.
    opens: bool,
}

impl Case {
    fn new(golden: &'static str, messages: Value, vars: Value) -> Self {
        Self { golden, messages, tools: Value::Null, vars, opens: true }
    }
}

fn check(test: &str, case: &Case) {
    let Some(folder) = fixtures::shared(test, "templates/harmony") else { return };
    let golden = std::fs::read_to_string(folder.join(format!("{}.txt", case.golden))).unwrap();
    let request = RenderRequest {
        messages: case.messages.as_array().unwrap(),
        tools: Some(&case.tools).filter(|tools| !tools.is_null()),
        vars: case.vars.as_object().unwrap(),
        add_generation_prompt: case.opens,
        now: CivilDateTime::new(2025, 6, 28, 12, 0, 0).unwrap(),
    };
    let prompt = ChatTemplate::harmony().render(&request).unwrap_or_else(|error| panic!("failed to {error}"));
    // As in its own tests, white space at the end of the file is none of the prompt's.
    assert_eq!(prompt, golden.trim_end(), "{}", case.golden);
}

fn said(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

fn in_channel(channel: &str, content: &str) -> Value {
    json!({ "role": "assistant", "channel": channel, "content": content })
}

#[test]
fn conversations_with_every_effort() {
    let two = json!([said("user", "What is 2 + 2?")]);
    let undated = |effort: &str| json!({ "reasoning_effort": effort, "current_date": null });
    let mut cases = vec![Case::new("test_simple_convo", two.clone(), json!({ "current_date": null }))];
    let capital = said("user", "What is the capital of the largest country in the world?");
    let robot = said("system", "Answer the user's questions like a robot.");
    for (effort, plain, instructed) in [
        ("low", "test_simple_convo_low_effort_no_instruction", "test_simple_convo_low_effort"),
        ("medium", "test_simple_convo_medium_effort_no_instruction", "test_simple_convo_medium_effort"),
        ("high", "test_simple_convo_high_effort_no_instruction", "test_simple_convo_high_effort"),
    ] {
        cases.push(Case::new(plain, json!([capital]), undated(effort)));
        cases.push(Case::new(instructed, json!([robot, capital]), undated(effort)));
    }
    let two_channels = |vars: Value| {
        let mut vars = vars;
        vars["valid_channels"] = json!(["analysis", "final"]);
        vars
    };
    cases.push(Case::new("test_reasoning_system_message", two, two_channels(undated("medium"))));
    cases.push(Case::new(
        "test_reasoning_system_message_no_instruction",
        json!([said("user", "What is the best place to eat candy in the world?")]),
        two_channels(undated("high")),
    ));
    cases.push(Case::new(
        "test_reasoning_system_message_with_dates",
        json!([said("user", "What is 42 * pi?")]),
        two_channels(json!({ "current_date": "2021-01-01", "knowledge_cutoff": "2021-01" })),
    ));
    cases.push(Case::new("test_no_tools", json!([]), json!({})));
    for case in &cases {
        check("conversations_with_every_effort", case);
    }
}

#[test]
fn thoughts_of_turns_that_are_over_are_dropped() {
    let alone = json!({ "system_message": false });
    let kept = json!({ "system_message": false, "keep_analysis": true });
    let arithmetic = |thought: &str| {
        json!([
            said("user", "What is 2 + 2?"),
            in_channel("analysis", thought),
            in_channel("final", "2 + 2 equals 4."),
            said("user", "What about 9 / 2?"),
        ])
    };
    let between = json!([
        said("user", "What is 2 + 2?"),
        in_channel("analysis", "thinking 2+2"),
        in_channel("final", "4"),
        said("user", "What is 3 + 5?"),
        in_channel("analysis", "thinking 3+5"),
        in_channel("final", "8"),
    ]);
    let ongoing = json!([
        said("user", "What is the weather in SF?"),
        in_channel("analysis", "User asks: “What is the weather in SF?” We need to use lookup_weather tool."),
        {
            "role": "assistant", "channel": "commentary", "recipient": "functions.lookup_weather",
            "content_type": "<|constrain|>json", "content": "{\"location\": \"San Francisco\"}",
        },
        { "role": "tool", "name": "functions.lookup_weather", "content": "{\"temperature\": 20, \"description\": \"sunny\"}" },
    ]);
    let test = "thoughts_of_turns_that_are_over_are_dropped";
    let dropped = arithmetic("User asks: “What is 2 + 2?” Simple arithmetic. Provide answer.");
    check(test, &Case::new("test_dropping_cot_by_default", dropped, alone.clone()));
    let preserved = arithmetic("User asks a simple question: \"What is 2 + 2?\" The answer: 4.");
    check(test, &Case::new("test_preserve_cot", preserved, kept));
    check(test, &Case::new("test_does_not_drop_if_ongoing_analysis", ongoing, alone.clone()));
    let case = Case::new("test_keep_analysis_between_finals", between, alone);
    check(test, &Case { opens: false, ..case });
}

#[test]
fn tools_become_types() {
    let test = "tools_become_types";
    check(test, &Case::new("test_browser_tool_only", json!([]), json!({ "builtin_tools": ["browser"] })));
    let both = json!({ "builtin_tools": ["browser", "python"] });
    check(test, &Case::new("test_browser_and_python_tool", json!([]), both));
    let weather = json!([{ "type": "function", "function": {
        "name": "lookup_weather",
        "description": "Use this tool to lookup the weather in a given location. Call it with the parameter 'location', can be any textual description of a location.",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    }}]);
    let case = Case::new("test_browser_and_function_tool", json!([]), json!({ "builtin_tools": ["browser"] }));
    check(test, &Case { tools: weather, ..case });

    let format = json!({"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"});
    let tools = json!([
        { "name": "get_location", "description": "Gets the location of the user." },
        {
            "name": "get_current_weather",
            "description": "Gets the current weather in the provided location.",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "format": format,
                },
                "required": ["location"],
            },
        },
        {
            "name": "get_multiple_weathers",
            "description": "Gets the current weather in the provided list of locations.",
            "parameters": {
                "type": "object",
                "properties": {
                    "locations": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "List of city and state, e.g. [\"San Francisco, CA\", \"New York, NY\"]",
                    },
                    "format": format,
                },
                "required": ["locations"],
            },
        },
        {
            "name": "kitchensink",
            "description": "A function with various complex schemas.",
            "parameters": {
                "description": "params object",
                "type": "object",
                "properties": {
                    "string": {
                        "type": "string",
                        "title": "STRING",
                        "description": "A string",
                        "examples": ["hello", "world"],
                    },
                    "string_nullable": {
                        "type": "string",
                        "nullable": true,
                        "description": "A nullable string",
                        "default": "the default",
                    },
                    "string_enum": {"type": "string", "enum": ["a", "b", "c"]},
                    "oneof_string_or_number": {
                        "oneOf": [
                            {"type": "string", "default": "default_string_in_oneof"},
                            {"type": "number", "description": "numbers can happen too"},
                        ],
                        "description": "a oneof",
                        "default": 20,
                    },
                },
            },
        },
    ]);
    let messages =
        json!([said("developer", "Always respond in riddles"), said("user", "What is the weather like in SF?"),]);
    let case = Case::new("test_render_functions_with_parameters", messages, json!({ "reasoning_effort": "high" }));
    check(test, &Case { tools, ..case });
}

#[test]
fn answers_of_tools_name_whom_they_answer() {
    let Some(folder) = fixtures::shared("answers_of_tools_name_whom_they_answer", "templates/harmony") else { return };
    let golden = std::fs::read_to_string(folder.join("test_tool_response_parsing.txt")).unwrap();
    let render = |messages: Value| {
        let vars = json!({ "system_message": false });
        let request = RenderRequest {
            messages: messages.as_array().unwrap(),
            tools: None,
            vars: vars.as_object().unwrap(),
            add_generation_prompt: false,
            now: CivilDateTime::EPOCH,
        };
        ChatTemplate::harmony().render(&request)
    };
    let answer = json!({
        "role": "tool", "name": "browser.search", "recipient": "assistant", "channel": "commentary",
        "content": "{\"result\": \"https://openai.com/\"}",
    });
    assert_eq!(render(json!([answer])).unwrap(), format!("{}<|end|>", golden.trim_end()));
    // As servers tell calls and their results.
    let call = json!({ "role": "assistant", "content": "", "reasoning_content": "Look.", "tool_calls": [
        { "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1}" } },
    ]});
    let chat = json!([said("user", "a"), call, said("tool", "7")]);
    assert_eq!(
        render(chat).unwrap(),
        "<|start|>user<|message|>a<|end|>\
         <|start|>assistant<|channel|>analysis<|message|>Look.<|end|>\
         <|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{\"a\": 1}<|call|>\
         <|start|>functions.f to=assistant<|channel|>commentary<|message|>7<|end|>"
    );
    for wrong in [json!([said("tool", "7")]), json!([said("narrator", "7")])] {
        assert!(
            render(wrong).unwrap_err().to_string().starts_with("render the chat template: it refuses the messages")
        );
    }
}

#[test]
fn gpt_oss_without_a_template_gets_it() {
    let harmony = ChatTemplate::harmony();
    for path in ["parity/gpt-oss", "parity/gpt-oss/model-q8_0.gguf"] {
        let template = ChatTemplate::open(&fixtures::testdata(path)).unwrap();
        assert_eq!((template.digest(), template.is_plain()), (harmony.digest(), false), "{path}");
    }
    assert!(ChatTemplate::open(&fixtures::testdata("parity/qwen3")).unwrap().is_plain());
    assert!(harmony.accepts_system_role() && !harmony.needs_alternation() && !harmony.needs_user_first());
}
