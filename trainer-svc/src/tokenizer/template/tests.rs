use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn compile(source: &str) -> Result<ChatTemplate, TokenizerError> {
    let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    ChatTemplate::new(source, &special)
}

fn render(source: &str, turns: &[(&str, &str)], generation_prompt: bool) -> Result<String, TokenizerError> {
    let messages: Vec<Message> = turns
        .iter()
        .map(|(role, content)| Message {
            role: (*role).to_owned(),
            content: (*content).to_owned(),
        })
        .collect();
    compile(source)?.render(&messages, generation_prompt)
}

/// Expected texts here were written by Jinja2 3.1 with the options of transformers.
#[test]
fn blocks_are_trimmed_as_transformers_trims_them() {
    let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if m.role == 'user' %}\n[U] {{ m.content }}\n    {% else %}\n\
                  [A] {{ m['content'] | trim }}\n    {% endif %}\n{% endfor %}\n{%- if add_generation_prompt %}\n[A]\n{%- endif %}\n";
    let turns = [("user", "hi"), ("assistant", " yo ")];
    assert_eq!(render(source, &turns, false).unwrap(), "<s>\n[U] hi\n[A] yo\n");
    assert_eq!(render(source, &turns, true).unwrap(), "<s>\n[U] hi\n[A] yo\n[A]");
}

#[test]
fn what_templates_use_of_python() {
    let one = [("user", "a</think>\n b ")];
    for (source, wanted) in [
        ("{{ messages[0].content.split('</think>')[-1].strip() }}", "b"),
        ("{{ messages[0]['content'].startswith('a') }}", "True"),
        (
            "{{ tools }}|{{ tools is none }}|{{ documents is defined }}",
            "None|True|True",
        ),
        ("{{ enable_thinking is defined }}", "False"),
        ("{{ messages | length }}{{ messages[1:] | length }}", "10"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        (
            "{% for i in range(5) %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "013",
        ),
        ("{%- macro say(x) -%}<{{ x }}>{%- endmacro -%}{{ say(1) }}", "<1>"),
        ("a{% generation %}b{% endgeneration %}c", "abc"),
        ("a {%- generation -%} b {%- endgeneration -%} c", "abc"),
        ("{{ strftime_now('%d %b %Y, %-m %H%%') }}", "26 Jul 2024, 7 00%"),
        ("{{ bos_token }}{{ eos_token }}", "<s>"),
        (
            "{{ 'a' ~ 1 }}{{ 'x' in 'xyz' }}{{ messages[0].get('name', 'none') }}",
            "a1Truenone",
        ),
        ("{{ '<&>' }}", "<&>"),
        (
            "{{ tools is iterable }} {{ messages is iterable }} {{ 'a' is iterable }} {{ 1 is iterable }}",
            "False True True False",
        ),
        ("a\r\nb\rc", "a\nb\nc"),
    ] {
        assert_eq!(render(source, &one, false).as_deref(), Ok(wanted), "{source}");
    }
}

#[test]
fn json_is_that_of_python() {
    let one = [("user", "\"q\" <b>\u{7f}é\n\t\u{1}")];
    for (source, wanted) in [
        (
            "{{ messages[0] | tojson }}",
            "{\"role\": \"user\", \"content\": \"\\\"q\\\" <b>\u{7f}é\\n\\t\\u0001\"}",
        ),
        ("{{ [1, 2.5, true, none, []] | tojson }}", "[1, 2.5, true, null, []]"),
        ("{{ {'b': 1, 'a': {}} | tojson }}", "{\"b\": 1, \"a\": {}}"),
        (
            "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}",
            "{\"a\": 2, \"b\": 1}",
        ),
        (
            "{{ {'b': [1, 2]} | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    2\n  ]\n}",
        ),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
    ] {
        assert_eq!(render(source, &one, false).as_deref(), Ok(wanted), "{source}");
    }
}

#[test]
fn refusals_carry_the_template_s_own_words() {
    let alternate = "{% if messages[0].role != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}";
    let error = render(alternate, &[("assistant", "a")], false).unwrap_err();
    assert_eq!(error, TokenizerError::Template("roles must alternate (line 1)".into()));
    assert!(matches!(compile("a\n{% for %}"), Err(TokenizerError::Template(text)) if text.contains("line 2")));
}

#[test]
fn endless_and_swelling_templates_end() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
    let error = render(nested, &[("user", "a")], false).unwrap_err();
    assert!(error.to_string().contains("fuel"), "{error}");
    let swelling = "{% for a in range(9999) %}{{ 'a' * 90000 }}{% endfor %}";
    let error = render(swelling, &[("user", "a")], false).unwrap_err();
    assert!(matches!(&error, TokenizerError::Template(_)), "{error}");
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(render(recursive, &[("user", "a")], false).is_err());
}

proptest! {
    #[test]
    fn any_template_compiles_or_refuses(source in "[{}%a-z \\-+'\"|().\\[\\]é]{0,80}") {
        if let Ok(template) = compile(&source) {
            let _ = template.render(&[], true);
        }
        let same = python::prepared(&source);
        prop_assert!(same == source || source.contains("generation"));
    }
}
