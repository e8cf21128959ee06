//! What we read is what kubectl reads: compared with a table recorded from the package that it uses.

use serde_json::Value;

/// Texts that the Go package accepts and we refuse, each with the fault we give.
const REFUSED: &[(&str, &str)] = &[
    ("{a: 1, a: 2}", "t:1:8: a: this key stands twice in one map, first at 1:2, remove one of the two"),
    ("{1: a, '1': b}", "t:1:8: 1: this key stands twice in one map, first at 1:2, remove one of the two"),
    // What follows is the parser's grammar, which is that of YAML 1.2 to the letter.
    ("v:\tyes", "t:1:4: a tab follows the colon, use a space"),
    ("a:\t5", "t:1:4: a tab follows the colon, use a space"),
    ("a: [cat, -]", "t:1:10: a[1]: a `-` stands alone in a list or map in brackets, quote it: \"-\""),
    (
        "- args: [\n    x\n]\n",
        "t:3:1: [0].args[0]: this belongs into the brackets above, but is indented less than their key, indent it further",
    ),
    (
        "spec:\n  a: \"x\n  y\"\n",
        "t:2:6: spec.a: the quotes that open here are not closed, or hold a line that is indented less than their key, close them, or indent that line",
    ),
];

/// Texts that the Go package refuses or reads otherwise, with what we make of them.
const READ: &[(&str, &str)] = &[
    ("a: &a [{x: 1}]\nb: {<<: *a}", r#"{"a":[{"x":1}],"b":{"x":1}}"#),
    ("a: [?x]", r#"{"a":["?x"]}"#),
    ("\ta: 1", r#"{"a":1}"#),
    ("a: \"\\/\"", r#"{"a":"/"}"#),
    ("a: \u{85}b", "{\"a\":\"\u{85}b\"}"),
    ("a: x\u{2028}y", "{\"a\":\"x\u{2028}y\"}"),
];

fn read(text: &str) -> Result<Value, String> {
    let documents = outrigger_config::read("t", text.as_bytes()).map_err(|faults| faults.to_string())?;
    Ok(documents.first().map_or(Value::Null, |document| document.value().clone()))
}

#[test]
fn every_recorded_text_reads_as_kubectl_reads_it() {
    let mut wrong = Vec::new();
    for line in include_str!("data/kubectl-yaml.tsv").lines().filter(|line| !line.starts_with('#')) {
        let (text, recorded) = line.split_once('\t').unwrap();
        let text: String = serde_json::from_str(text).unwrap();
        let ours = read(&text);
        let refused = REFUSED.iter().find(|(refused, _)| *refused == text);
        let accepted = READ.iter().find(|(accepted, _)| *accepted == text);
        let right = match (recorded.strip_prefix('!'), refused, accepted, &ours) {
            (_, _, Some((_, value)), Ok(ours)) => serde_json::from_str::<Value>(value).unwrap() == *ours,
            (Some(_), _, None, Err(_)) => true,
            (None, Some((_, fault)), _, Err(ours)) => ours == fault,
            (None, None, None, Ok(ours)) => serde_json::from_str::<Value>(recorded).unwrap() == *ours,
            _ => false,
        };
        if !right {
            wrong.push(format!("{text:?}\n    kubectl {recorded}\n    ours    {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} texts differ:\n{}", wrong.len(), wrong.join("\n"));
}
