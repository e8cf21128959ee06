//! YAML text to the builder's events. The grammar is the parser's; what the scalars mean is ours.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::compose::{Builder, Leaf, Stopped};
use crate::document::Document;
use crate::fault::{Faults, Position};
use crate::{scalar, text};

/// Reads every document of the text.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Document>, Faults> {
    let mut builder = Builder::new(file, text.contains('*'));
    let mut parser = Parser::new_from_str(text);
    // The builder holds why it stopped.
    let _stopped = read_events(&mut parser, text, &mut builder);
    builder.finish()
}

fn read_events(parser: &mut Parser<'_, StrInput<'_>>, text: &str, builder: &mut Builder<'_>) -> Result<(), Stopped> {
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| not_yaml(&error, text, builder))?;
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                builder.scalar(leaf(&text, style, tag.as_deref(), at), anchor)?;
            }
            Event::SequenceStart(anchor, _) => builder.open_list(at, anchor)?,
            Event::MappingStart(anchor, _) => builder.open_map(at, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => builder.end()?,
            Event::Alias(anchor) => builder.alias(anchor, at)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => (),
        }
    }
    Ok(())
}

fn leaf<'t>(text: &'t str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Leaf<'t> {
    let plain = style == ScalarStyle::Plain;
    let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix)).unwrap_or_default();
    let merges = text == "<<" && (plain && tag.is_empty() || tag == "tag:yaml.org,2002:merge");
    Leaf { meaning: scalar::resolve(&tag, text, plain), text, quoted: !plain, merges, at }
}

fn position(mark: &Marker) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: number(mark.line()), column: number(mark.col() + 1) }
}

/// Says what is wrong with the grammar: the common mistakes in our words, the rest in the parser's.
fn not_yaml(error: &ScanError, whole: &str, builder: &mut Builder<'_>) -> Stopped {
    let at = position(error.marker()).min(text::position(whole.trim_end()));
    let line = whole.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
    if let Some(tab) = indent.find('\t') {
        let at = Position { line: at.line, column: u32::try_from(tab + 1).unwrap_or(u32::MAX) };
        return builder.stop(at, "a tab indents this line, and YAML allows only spaces there", "use spaces");
    }
    if line.trim_start().starts_with("{{") {
        return builder.stop(at, "this looks like a template, not like YAML", "render it first");
    }
    let info = error.info();
    if info.starts_with("recursion limit") {
        return builder.too_deep(at);
    }
    for (says, message, help) in MISTAKES {
        if info.contains(says) {
            return builder.stop(at, *message, help);
        }
    }
    builder.stop(at, format!("this is not YAML: {info}"), "look at the indentation and quotes here and above")
}

/// What the parser says, what it means, and what would be right.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "simple key expect",
        "a key before this has no `:`",
        "write `key: value`, or indent the text under the value above",
    ),
    (
        "mapping values are not allowed",
        "no key can stand here",
        "align it with the other keys, or quote a value with `: ` in it",
    ),
    ("did not find expected key", "no key of the map above can stand here", "align it with the keys it belongs to"),
    (
        "expected '-' indicator",
        "this stands among list items but is none",
        "begin it with `- `, or indent it as it belongs",
    ),
    ("flow mapping, did not", "a `,` or `}` is missing before this", "close the `{` above"),
    ("flow sequence, expected", "a `,` or `]` is missing before this", "close the `[` above"),
    ("illegal placement of ':'", "a `,` or `]` is missing before this", "close the `[` or `{` above"),
    ("expected node content", "a value is missing here", "close what is open above, or quote the value"),
    ("misplaced bracket", "this bracket closes nothing", "quote the value if it is text"),
    ("unexpected end of stream", "the quotes that open here are never closed", "close them"),
    (
        "in quoted scalar",
        "the quotes that open here are not closed, or hold a line that is indented less than their key",
        "close them, or indent that line",
    ),
    ("cannot start with '-'", "a `-` stands alone in a list or map in brackets", "quote it: \"-\""),
    ("comments must be", "no space stands before the `#`", "put one there, or quote the text"),
    (
        "invalid indentation",
        "this belongs into the brackets above, but is indented less than their key",
        "indent it further",
    ),
    ("unexpected character", "no value can begin with this character", "quote the value"),
    (
        "unknown anchor",
        "the alias names nothing above it",
        "name an anchor (`&name`), or quote the value if it is text",
    ),
    ("unknown escape", "YAML does not know an escape in these quotes", "double the backslash, or use single quotes"),
    (
        "hexadecimal number",
        "an escape in these quotes has too few digits",
        "double the backslash, or use single quotes",
    ),
    ("Unicode character escape", "an escape in these quotes is no character", "write the character itself"),
    ("invalid trailing content", "text stands after the closing quotes", "quote the value as a whole"),
    ("block sequence entries", "no list item can begin here", "begin the list on the next line, or quote the value"),
    (
        "<document start>",
        "this does not belong to what stands above",
        "align it with the first line, or begin a document with `---`",
    ),
    ("an anchor or alias", "a name is missing after the `&` or `*`", "quote the value if it is text"),
    ("while scanning a block scalar", "text stands after the `|` or `>`", "begin it on the next line, indented"),
    ("':' must be followed", "a tab follows the colon", "use a space"),
];
