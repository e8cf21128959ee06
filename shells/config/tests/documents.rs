//! The located document: values, places, and the faults of a text.

use outrigger_config::{Document, MAX_DEPTH, MAX_TEXT, Path, Position, read};
use proptest::prelude::*;
use serde_json::json;

fn one(text: &str) -> Document {
    let mut documents = read("t.yaml", text.as_bytes()).expect("the text is right");
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn path(text: &str) -> Path {
    text.parse().expect("every text is a path")
}

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

const POD: &str = "\
# A comment first.
apiVersion: v1
metadata:
  name: web
  labels: {app.kubernetes.io/name: web, tier: \"front\"}
spec:
  containers:
  - name: main
    env:
      - {name: A, value: yes}
    ports: [80, 0x50]
  - name: übung ß # wide characters count as one
    args: [é, b]
";

#[test]
fn every_value_and_key_knows_its_place() {
    let pod = one(POD);
    for (text, key, value) in [
        ("", at(2, 1), at(2, 1)),
        ("metadata.name", at(4, 3), at(4, 9)),
        ("metadata.labels[app.kubernetes.io/name]", at(5, 12), at(5, 36)),
        ("metadata.labels.tier", at(5, 41), at(5, 47)),
        // A list that is indented no further than its key begins with its first item.
        ("spec.containers", at(7, 3), at(8, 5)),
        ("spec.containers[0]", at(8, 5), at(8, 5)),
        ("spec.containers[0].env[0].value", at(10, 19), at(10, 26)),
        ("spec.containers[0].ports[1]", at(11, 17), at(11, 17)),
        ("spec.containers[1].args[1]", at(13, 15), at(13, 15)),
        ("spec.containers[9].args", at(7, 3), at(8, 5)),
    ] {
        assert_eq!((pod.key_position(&path(text)), pod.position(&path(text))), (key, value), "{text}");
    }
}

#[test]
fn a_scalar_tells_how_it_was_written() {
    let pod = one(POD);
    for (text, written, quoted) in [
        ("spec.containers[0].env[0].value", "yes", false),
        ("spec.containers[0].ports[0]", "80", false),
        ("spec.containers[0].ports[1]", "0x50", false),
        ("metadata.labels.tier", "front", true),
        ("metadata.name", "web", false),
    ] {
        let found = pod.written(&path(text)).unwrap();
        assert_eq!((found.text.as_str(), found.quoted), (written, quoted), "{text}");
    }
    assert_eq!(pod.written(&path("spec")), None);
    assert_eq!(pod.written(&path("spec.nothing")), None);
}

#[test]
fn documents_without_content_are_left_out() {
    let documents = read("t.yaml", b"---\n# nothing\n---\na: 1\n---\n---\nnull\n---\nb: 2\n...\n").unwrap();
    let values: Vec<_> = documents.iter().map(Document::value).collect();
    assert_eq!(values, [&json!({"a": 1}), &json!({"b": 2})]);
    assert_eq!(documents[1].position(&path("b")), at(9, 4));
    for empty in ["", "\n", "# only a comment\n", "---\n", "\u{feff}", "\u{feff}---\n"] {
        assert!(read("t.yaml", empty.as_bytes()).unwrap().is_empty(), "{empty:?}");
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_shift_no_place() {
    for text in ["a: 1\nb:\n  c: x\n", "a: 1\r\nb:\r\n  c: x\r\n", "a: 1\rb:\r  c: x\r", "\u{feff}a: 1\nb:\n  c: x"] {
        let document = one(text);
        assert_eq!(document.value(), &json!({"a": 1, "b": {"c": "x"}}), "{text:?}");
        assert_eq!(document.position(&path("b.c")), at(3, 6), "{text:?}");
        assert_eq!(document.key_position(&path("a")), at(1, 1), "{text:?}");
    }
}

#[test]
fn json_is_read_as_json() {
    let text = "{\r\n\t\"a\" :\t[1, 2.5, -3e2, true, null, \"\\ud83d\\ude00\\u00e9\\/\\n\"],\n \"b\": {\"c\": 0}}";
    let document = one(text);
    assert_eq!(document.value(), &json!({"a": [1, 2.5, -300, true, null, "😀é/\n"], "b": {"c": 0}}));
    assert_eq!(document.position(&path("a[5]")), at(2, 35));
    assert_eq!(document.key_position(&path("b.c")), at(3, 8));
    assert_eq!(one(r#"{"a": "\ud83d", "b": "\ude00x"}"#).value(), &json!({"a": "\u{fffd}", "b": "\u{fffd}x"}));
    assert_eq!(one(&format!(r#"{{"{}": 1}}"#, "k".repeat(5000))).value().as_object().unwrap().len(), 1);
    assert_eq!(read("t.json", b"{\"a\": 1}\n{\"b\": 2}").unwrap().len(), 2);
    assert!(one(r#"{"a": "yes", "b": 0.5}"#).written(&path("a")).unwrap().quoted);
}

#[test]
fn flow_style_yaml_may_start_like_json() {
    assert_eq!(one("{a: yes, b: [0644]}\n").value(), &json!({"a": true, "b": [420]}));
    assert_eq!(one("[a, b]").value(), &json!(["a", "b"]));
    assert_eq!(read("t.yaml", b"{\"a\": 1}\n---\nb: 2\n").unwrap().len(), 2);
}

#[test]
fn aliases_and_merges_keep_the_place_of_the_text_they_copy() {
    let document = one("base: &base\n  image: x\n  tty: no\nmain:\n  <<: *base\n  tty: on\nother: *base\n");
    assert_eq!(document.value()["main"], json!({"image": "x", "tty": true}));
    assert_eq!(document.position(&path("main.image")), at(2, 10));
    assert_eq!(document.position(&path("main.tty")), at(6, 8));
    assert_eq!(document.position(&path("other")), at(7, 8));
    assert_eq!(document.position(&path("other.image")), at(2, 10));
    assert!(document.warnings().is_empty());
}

#[test]
fn what_reads_otherwise_than_it_looks_is_a_warning() {
    for (text, warning) in [
        (
            "{x: 1, <<: {x: 2}}",
            "t.yaml:1:8: warning: x: the merge (`<<`) below this key replaces its value, as kubectl reads it, put the merge first if the key is to win",
        ),
        ("data:\n  y: 1\n", "t.yaml:2:3: warning: data: the key \"y\" reads as \"true\", put it in quotes"),
    ] {
        assert_eq!(one(text).warnings().to_string(), warning);
    }
}

#[test]
fn a_fault_of_the_text_says_where_and_what_would_be_right() {
    for (text, faults) in [
        ("a:\n\t- b\n", "t.yaml:2:1: a: a tab indents this line, and YAML allows only spaces there, use spaces"),
        (
            "a: 1\nb: {c: 1, c: 2}\na: 3\n",
            "t.yaml:2:11: b.c: this key stands twice in one map, first at 2:5, remove one of the two\n\
             t.yaml:3:1: a: this key stands twice in one map, first at 1:1, remove one of the two",
        ),
        (
            "{\"a\": 1,\n \"a\": 2}",
            "t.yaml:2:2: a: this key stands twice in one map, first at 1:2, remove one of the two",
        ),
        ("a: .inf\n", "t.yaml:1:4: a: inf is no number that JSON can hold, put it in quotes if it is meant as text"),
        (
            "- a: !!int x\n",
            "t.yaml:1:6: [0].a: \"x\" is tagged !!int, but reads as str, put it in quotes if it is meant as text",
        ),
        ("~: 1\n", "t.yaml:1:1: null cannot be a key, put it in quotes if it is meant as text"),
        (
            "? [a]\n: 1\n",
            "t.yaml:1:3: a map or list stands where a key is expected, a key must be text; put it in quotes, or render the template first if it is one",
        ),
        ("a: &x [*x]\n", "t.yaml:1:8: a[0]: the alias stands inside the value that it names, write the value out"),
        (
            "a: {<<: 1}\n",
            "t.yaml:1:5: a: the merge key `<<` takes a map or a list of maps, name a map with it, as in `<<: *name`",
        ),
        (
            "a: b\0c\n",
            "t.yaml:1:5: control character 0x00 in the text, remove it, or write it as an escape in double quotes",
        ),
        ("{\"a\": [1, 2}\n", "t.yaml:1:12: a[2]: this is not JSON: a `,` or `]` belongs after the value"),
        ("{\"a\": 01}\n", ""), // No JSON, but YAML.
    ] {
        let found = read("t.yaml", text.as_bytes()).map_or_else(|faults| faults.to_string(), |_| String::new());
        assert_eq!(found, faults, "{text:?}");
    }
}

#[test]
fn mistakes_of_grammar_are_told_in_words_that_help() {
    for (text, fault) in [
        ("a: {b: 1", "1:9: a: a `,` or `}` is missing before this, close the `{` above"),
        ("a: b: c", "1:5: no key can stand here, align it with the other keys, or quote a value with `: ` in it"),
        ("a: 'b", "1:4: a: the quotes that open here are never closed, close them"),
        ("a: @b", "1:4: a: no value can begin with this character, quote the value"),
        (
            "a: *b",
            "1:4: a: the alias names nothing above it, name an anchor (`&name`), or quote the value if it is text",
        ),
        ("a: 'x' y", "1:8: a: text stands after the closing quotes, quote the value as a whole"),
        ("a:\n  b: 1\n c: 2\n", "3:2: no key of the map above can stand here, align it with the keys it belongs to"),
        (
            "a: 1\nb\nc: 2\n",
            "3:1: a key before this has no `:`, write `key: value`, or indent the text under the value above",
        ),
        ("{{- if .Values.x }}\na: 1\n", "1:3: this looks like a template, not like YAML, render it first"),
    ] {
        assert_eq!(read("t", text.as_bytes()).unwrap_err().to_string(), format!("t:{fault}"), "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_have_a_place() {
    for (bytes, fault) in [
        (&b"a: 1\nb: \xe4\n"[..], "t.yaml:2:4: byte 0xe4 is not UTF-8, save the file as UTF-8"),
        (b"\xff\xfea\0", "t.yaml:1:1: the text is UTF-16, save it as UTF-8"),
    ] {
        assert_eq!(read("t.yaml", bytes).unwrap_err().to_string(), fault);
    }
}

#[test]
fn hostile_texts_end_in_a_clear_fault() {
    let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))
    });
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 4096].join(", "));
    let merges = (1..40).fold("a0: &a0 {x: 1}\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} {{<<: *a{m}, k{n}: [*a{m}, *a{m}]}}\n", m = n - 1)
    });
    for text in [laughs, long, merges] {
        let faults = read("t.yaml", text.as_bytes()).unwrap_err().to_string();
        assert!(faults.contains("anchors and aliases make the text larger than"), "{faults}");
    }
    for text in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 20), "- ".repeat(1 << 20), "{a: ".repeat(1 << 18)] {
        let faults = read("t.yaml", text.as_bytes()).unwrap_err().to_string();
        assert!(faults.contains("deeper than"), "{faults}");
    }
    let nested = (1..200).fold(format!("a0: &a0 {}x{}\n", "[".repeat(60), "]".repeat(60)), |text, n| {
        text + &format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(60), n - 1, "]".repeat(60))
    });
    let faults = read("t.yaml", nested.as_bytes()).unwrap_err().to_string();
    assert!(faults.starts_with("t.yaml:3:69: a2[0][0]") && faults.contains("deeper than"), "{faults}");
    let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(read("t.yaml", deepest.as_bytes()).is_ok());
    let faults = read("t.yaml", &vec![b' '; MAX_TEXT + 1]).unwrap_err().to_string();
    assert!(faults.ends_with("split it into several files"), "{faults}");
    let many = "- .inf\n".repeat(10_000);
    assert_eq!(read("t.yaml", many.as_bytes()).unwrap_err().len(), 101);
}

#[test]
fn a_large_manifest_is_read_with_all_its_places() {
    let container = "  - name: c\n    image: registry.example/image:1\n    env: [{name: A, value: b}]\n";
    let count = (10 << 20) / container.len();
    let text = format!("spec:\n  containers:\n{}", container.repeat(count));
    let document = one(&text);
    let last = path(&format!("spec.containers[{}].image", count - 1));
    assert_eq!(document.position(&last), at(u32::try_from(2 + 3 * count - 1).unwrap(), 12));
    let json = serde_json::to_string(document.value()).unwrap();
    assert_eq!(one(&json).value(), document.value());
}

fn fragments() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<",
        "? ",
        "!!int ",
        "!x ",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "0x1",
        "1e3",
        "yes",
        "\\u",
        "d83d",
        "é",
        "\u{feff}",
        "\r",
        "@",
        "`",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in fragments()) {
        if let Err(faults) = read("t", text.as_bytes()) {
            prop_assert!(faults.has_errors());
            prop_assert!(faults.iter().all(|fault| !fault.to_string().contains('\n')));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read("t", &bytes);
    }

    #[test]
    fn whatever_json_writes_is_read_back(value in values()) {
        let text = serde_json::to_string(&value).unwrap();
        let documents = read("t", text.as_bytes()).unwrap();
        prop_assert_eq!(documents.first().map_or(json!(null), |document| document.value().clone()), value);
    }
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf =
        prop_oneof![any::<bool>().prop_map(Into::into), any::<i64>().prop_map(Into::into), ".*".prop_map(Into::into)];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(".*", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}
