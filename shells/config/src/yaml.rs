//! YAML text to the builder's events. The grammar is the parser's; what the scalars mean is ours.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::compose::{Builder, Leaf, Stopped};
use crate::document::Document;
use crate::fault::{Faults, Position};
use crate::scalar;

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
fn not_yaml(error: &ScanError, text: &str, builder: &mut Builder<'_>) -> Stopped {
    let at = position(error.marker());
    let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
    if let Some(tab) = indent.find('\t') {
        let at = Position { line: at.line, column: u32::try_from(tab + 1).unwrap_or(u32::MAX) };
        return builder.stop(at, "a tab indents this line, and YAML allows only spaces there", "use spaces");
    }
    if error.info().starts_with("recursion limit") {
        return builder.too_deep(at);
    }
    if line.contains(":\t") && error.info().contains("':' must be followed") {
        return builder.stop(at, "a tab follows the colon", "use a space");
    }
    if line.trim_start().starts_with("{{") {
        return builder.stop(at, "this looks like a template, not like YAML", "render it first");
    }
    builder.stop(at, format!("this is not YAML: {}", error.info()), "look at the indentation and quotes here and above")
}
